"""An audit message as XML by the schema of PS3.15 A.5.1, and as a syslog message of RFC 5424."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

# Elements that hold text; every other value that is text is an attribute.
_TEXT_ELEMENTS = {"EventOutcomeDescription", "ParticipantObjectName", "ParticipantObjectQuery"}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
# Facility 10, security and authorization; severity 5, notice (PS3.15 A.6 and RFC 5424 6.2.1).
_PRIORITY = 10 * 8 + 5
_MESSAGE_ID = "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"


def to_xml(message: Mapping[str, object]) -> str:
    """One element `AuditMessage`, on one line, without a declaration."""
    return ET.tostring(_element("AuditMessage", message), encoding="unicode")


def _element(name: str, content: object) -> ET.Element:
    element = ET.Element(name)
    if not isinstance(content, Mapping):
        element.text = _shown(content)
        return element
    for key, value in content.items():
        if isinstance(value, Mapping) or key in _TEXT_ELEMENTS:
            element.append(_element(key, value))
        elif isinstance(value, list):
            element.extend(_element(key, each) for each in value)
        else:
            element.set(key, _shown(value))
    return element


def _shown(value: object) -> str:
    return _NOT_XML.sub("\ufffd", str(value))


def to_syslog(message: Mapping[str, object], *, time: str, host: str, process: str) -> bytes:
    """A syslog message (RFC 5424) with MSGID DICOM+RFC3881 (PS3.15 A.6), without any framing."""
    shown = _NOT_PRINTABLE.sub("-", host)[:255] or "-"
    header = f"<{_PRIORITY}>1 {time} {shown} wetread {process} {_MESSAGE_ID} - "
    return header.encode("ascii") + _BOM + to_xml(message).encode()

"""Reading the few attributes that name a data set, and writing the Part-10 header before it."""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.uid import UID

from wetread.errors import InputError, MissingAttributeError
from wetread.receive.body import Body
from wetread.receive.elements import Encoding, scan
from wetread.receive.spool import InstanceUids
from wetread.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SOP_CLASS, _SOP_INSTANCE, _MODALITY = 0x00080016, 0x00080018, 0x00080060
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_WANTED = frozenset({_SOP_CLASS, _SOP_INSTANCE, _MODALITY, _STUDY, _SERIES})
_NAMES = {
    _SOP_CLASS: "SOP Class UID (0008,0016)",
    _SOP_INSTANCE: "SOP Instance UID (0008,0018)",
    _STUDY: "Study Instance UID (0020,000D)",
    _SERIES: "Series Instance UID (0020,000E)",
}
_DEFLATED = {"1.2.840.10008.1.2.1.99"}
_HEAD_BYTES = 1 << 16
_MODALITY_VALUE = re.compile(r"[A-Z0-9_ ]{1,16}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a data set says of itself. `modality` is "unknown" if it is absent or no code."""

    uids: InstanceUids
    sop_class_uid: str
    modality: str


def identify(body: Body, transfer_syntax_uid: str) -> Identity:
    """Read the SOP class, the three UIDs and the modality, and nothing after (0020,000E).

    Raises MissingAttributeError if one of the UIDs is absent or empty, and InputError if the
    bytes cannot be read as a data set in that transfer syntax.
    """
    values = _read_start(body, transfer_syntax_uid)
    modality = _text(values.get(_MODALITY, b""))
    return Identity(
        InstanceUids(
            study_instance_uid=_needed(values, _STUDY),
            series_instance_uid=_needed(values, _SERIES),
            sop_instance_uid=_needed(values, _SOP_INSTANCE),
        ),
        sop_class_uid=_needed(values, _SOP_CLASS),
        modality=modality if _MODALITY_VALUE.fullmatch(modality) else "unknown",
    )


def _read_start(body: Body, transfer_syntax_uid: str) -> dict[int, bytes]:
    """Parse the first kilobytes; all of it if a long element stands before the UIDs."""
    try:
        values, reached = _parse(io.BytesIO(body.head(_HEAD_BYTES)), transfer_syntax_uid)
        if not reached and body.size_bytes > _HEAD_BYTES:
            values, _ = _parse(body.open(), transfer_syntax_uid)
    except (ValueError, zlib.error) as error:
        raise _unreadable(transfer_syntax_uid, body, error) from error
    return values


def _parse(stream: BinaryIO, transfer_syntax_uid: str) -> tuple[dict[int, bytes], bool]:
    """The wanted elements, and whether the parser came past the last of them."""
    if transfer_syntax_uid in _DEFLATED:
        stream = _inflated(stream)
    # Whatever is not implicit or big endian is explicit little endian (PS3.5 A.4).
    encoding = Encoding(
        implicit=transfer_syntax_uid == "1.2.840.10008.1.2",
        little_endian=transfer_syntax_uid != "1.2.840.10008.1.2.2",
    )
    return scan(stream, encoding, _WANTED)


def _inflated(stream: BinaryIO) -> BinaryIO:
    """The start of a deflated data set; the limit keeps a bomb from filling the memory."""
    return io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), 1 << 24))


def _unreadable(transfer_syntax_uid: str, body: Body, error: Exception) -> InputError:
    return InputError(
        f"{body.size_bytes} bytes are no data set in {UID(transfer_syntax_uid).name}: {error}",
        hint="check the transfer syntax that the sender negotiates",
    )


def _needed(values: dict[int, bytes], tag: int) -> str:
    value = _text(values.get(tag, b""))
    if not value:
        raise MissingAttributeError(
            f"{_NAMES[tag]} is missing", hint="ask the sender to correct the object"
        )
    return value


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def part10_header(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str
) -> bytes:
    """Preamble and file meta information (PS3.10 7.1) that go before a data set."""
    elements = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _element(0x0002, "UI", sop_class_uid),
            _element(0x0003, "UI", sop_instance_uid),
            _element(0x0010, "UI", transfer_syntax_uid),
            _element(0x0012, "UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, "SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, "AE", source_ae_title) if source_ae_title else b"",
        )
    )
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
    return b"\0" * 128 + b"DICM" + length + elements


def _element(number: int, vr: str, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, vr.encode(), len(value)) + value

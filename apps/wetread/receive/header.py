"""Reading the few attributes that name a data set, and writing the Part-10 header before it."""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from wetread import __version__
from wetread.errors import InputError, MissingAttributeError
from wetread.receive.body import Body
from wetread.receive.spool import InstanceUids
from wetread.uids import derived_uid

IMPLEMENTATION_CLASS_UID = derived_uid("implementation class", "wetread")
IMPLEMENTATION_VERSION_NAME = f"WETREAD_{__version__}"[:16]

_SOP_CLASS, _SOP_INSTANCE, _MODALITY = 0x00080016, 0x00080018, 0x00080060
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_WANTED: list[BaseTag | int] = [_SOP_CLASS, _SOP_INSTANCE, _MODALITY, _STUDY, _SERIES]
_NAMES = {
    _SOP_CLASS: "SOP Class UID (0008,0016)",
    _SOP_INSTANCE: "SOP Instance UID (0008,0018)",
    _STUDY: "Study Instance UID (0020,000D)",
    _SERIES: "Series Instance UID (0020,000E)",
}
_DEFLATED = {"1.2.840.10008.1.2.1.99"}
_HEAD_BYTES = 1 << 16
_MODALITY_VALUE = re.compile(r"[A-Z0-9_ ]{1,16}")
# What pydicom raises on bytes that are no data set.
_UNREADABLE = (
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OSError,
    struct.error,
    zlib.error,
)


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
    dataset = _read_start(body, transfer_syntax_uid)
    modality = _text(dataset, _MODALITY)
    return Identity(
        InstanceUids(
            study_instance_uid=_needed(dataset, _STUDY),
            series_instance_uid=_needed(dataset, _SERIES),
            sop_instance_uid=_needed(dataset, _SOP_INSTANCE),
        ),
        sop_class_uid=_needed(dataset, _SOP_CLASS),
        modality=modality if _MODALITY_VALUE.fullmatch(modality) else "unknown",
    )


def _read_start(body: Body, transfer_syntax_uid: str) -> Dataset:
    """Parse the first kilobytes; all of it if a long element stands before the UIDs."""
    try:
        dataset, reached = _parse(io.BytesIO(body.head(_HEAD_BYTES)), transfer_syntax_uid)
        if reached or body.size_bytes <= _HEAD_BYTES:
            return dataset
    except _UNREADABLE as error:
        if body.size_bytes <= _HEAD_BYTES:
            raise _unreadable(transfer_syntax_uid, body, error) from error
    try:
        return _parse(body.open(), transfer_syntax_uid)[0]
    except _UNREADABLE as error:
        raise _unreadable(transfer_syntax_uid, body, error) from error


def _parse(stream: BinaryIO, transfer_syntax_uid: str) -> tuple[Dataset, bool]:
    """The wanted elements, and whether the parser came past the last of them."""
    syntax = UID(transfer_syntax_uid)
    if transfer_syntax_uid in _DEFLATED:
        stream = _inflated(stream)
    reached = False

    def past_the_uids(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal reached
        reached = int(tag) > _SERIES
        return reached

    # Whatever is not implicit or big endian is explicit little endian (PS3.5 A.4).
    return read_dataset(
        stream,
        syntax == "1.2.840.10008.1.2",
        syntax != "1.2.840.10008.1.2.2",
        stop_when=past_the_uids,
        specific_tags=_WANTED,
    ), reached


def _inflated(stream: BinaryIO) -> BinaryIO:
    """The start of a deflated data set; the limit keeps a bomb from filling the memory."""
    return io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), 1 << 24))


def _unreadable(transfer_syntax_uid: str, body: Body, error: Exception) -> InputError:
    return InputError(
        f"{body.size_bytes} bytes are no data set in {UID(transfer_syntax_uid).name}: "
        f"{type(error).__name__}",
        hint="check the transfer syntax that the sender negotiates",
    )


def _text(dataset: Dataset, tag: int) -> str:
    """The value of one element as text, trimmed; empty if absent or not to be read."""
    try:
        value = dataset[tag].value if tag in dataset else ""
    except _UNREADABLE:
        return ""
    return str(value or "").strip(" \0")


def _needed(dataset: Dataset, tag: int) -> str:
    value = _text(dataset, tag)
    if not value:
        raise MissingAttributeError(
            f"{_NAMES[tag]} is missing", hint="ask the sender to correct the object"
        )
    return value


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

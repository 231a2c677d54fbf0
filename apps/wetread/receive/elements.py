"""A few elements from the start of an encoded data set, with nothing decoded (PS3.5 chapter 7).

pydicom would decode the character set and warn, with the received bytes in the warning; and an
instance arrives every few milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import BinaryIO

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_MAXIMUM_VALUE_BYTES = 1024
_MAXIMUM_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Encoding:
    """How tags, lengths and VRs are written."""

    implicit: bool
    little_endian: bool

    @property
    def order(self) -> str:
        """The prefix for `struct`."""
        return "<" if self.little_endian else ">"


@dataclass(frozen=True, slots=True)
class _Head:
    tag: int
    vr: bytes
    length: int


def scan(
    stream: BinaryIO, encoding: Encoding, wanted: AbstractSet[int]
) -> tuple[dict[int, bytes], bool]:
    """The values of the `wanted` top-level elements, and whether a later element was seen.

    Reads no further than the first element after the last wanted one. Raises ValueError if the
    bytes are no elements.
    """
    last = max(wanted)
    values: dict[int, bytes] = {}
    while (head := _read_head(stream, encoding)) is not None:
        if head.tag > last:
            return values, True
        if head.tag in wanted and head.length <= _MAXIMUM_VALUE_BYTES:
            values[head.tag] = stream.read(head.length)
        else:
            _skip_value(stream, encoding, head, 0)
    return values, False


def _read_head(stream: BinaryIO, encoding: Encoding) -> _Head | None:
    """Tag, VR and length of the next element; None at the end of the bytes."""
    data = stream.read(8)
    if len(data) < 8:
        return None
    group, element = struct.unpack_from(encoding.order + "HH", data)
    tag = group << 16 | element
    # Items and their delimiters have no VR, in whatever encoding.
    if encoding.implicit or group == 0xFFFE:
        return _Head(tag, b"", struct.unpack_from(encoding.order + "I", data, 4)[0])
    vr = data[4:6]
    if not (vr.isalpha() and vr.isupper()):
        raise ValueError(f"({group:04X},{element:04X}) has no VR")
    if vr not in _LONG_VRS:
        return _Head(tag, vr, struct.unpack_from(encoding.order + "H", data, 6)[0])
    length = stream.read(4)
    if len(length) < 4:
        return None
    return _Head(tag, vr, struct.unpack(encoding.order + "I", length)[0])


def _skip_value(stream: BinaryIO, encoding: Encoding, head: _Head, depth: int) -> None:
    if head.length != _UNDEFINED:
        stream.seek(head.length, 1)
        return
    if depth > _MAXIMUM_DEPTH:
        raise ValueError(f"sequences nested deeper than {_MAXIMUM_DEPTH}")
    if head.vr == b"UN":
        # A sequence of unknown VR is written in implicit little endian (PS3.5 6.2.2 Note 4).
        encoding = Encoding(implicit=True, little_endian=True)
    _skip_until(stream, encoding, _SEQUENCE_END, depth)


def _skip_until(stream: BinaryIO, encoding: Encoding, end: int, depth: int) -> None:
    """Past the delimiter `end` of a sequence or item of undefined length."""
    while (head := _read_head(stream, encoding)) is not None:
        if head.tag == end:
            return
        if head.tag == _ITEM and head.length == _UNDEFINED:
            _skip_until(stream, encoding, _ITEM_END, depth + 1)
        else:
            _skip_value(stream, encoding, head, depth + 1)

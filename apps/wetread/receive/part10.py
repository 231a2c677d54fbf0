"""A DICOM file that arrives in pieces: its file meta information, then its data set."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wetread.errors import InputError
from wetread.receive.body import Body

_PREFIX_BYTES = 144
_MAXIMUM_META_BYTES = 1 << 16
_LONG_VRS = {b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"OD", b"OL", b"UC", b"UR"}


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file says of its data set (PS3.10 Table 7.1-1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class Part10Reader:
    """Keeps the head of the file until it is whole and passes the data set on to `body`."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._head = bytearray()
        self._meta: FileMeta | None = None

    def write(self, data: bytes) -> None:
        """Take the next bytes of the file.

        Raises InputError if they are no DICOM file, StorageError if the disk is full.
        """
        if self._meta is not None:
            self.body.write(data)
            return
        self._head += data
        end = self._end_of_meta()
        if end is not None and len(self._head) >= end:
            self._meta = _file_meta(bytes(self._head[_PREFIX_BYTES:end]))
            self.body.write(bytes(self._head[end:]))
            self._head.clear()

    @property
    def meta(self) -> FileMeta:
        """The file meta information. Raises InputError if the file ended before it was whole."""
        if self._meta is None:
            raise _not_a_file(f"it ends after {len(self._head)} bytes")
        return self._meta

    def _end_of_meta(self) -> int | None:
        if len(self._head) < _PREFIX_BYTES:
            return None
        if self._head[128:132] != b"DICM":
            raise _not_a_file("there is no DICM after the preamble")
        group, element, vr, size, length = struct.unpack_from("<HH2sHI", self._head, 132)
        if (group, element, vr, size) != (2, 0, b"UL", 4) or length > _MAXIMUM_META_BYTES:
            raise _not_a_file("there is no file meta information group length (0002,0000)")
        return _PREFIX_BYTES + int(length)


def _not_a_file(reason: str) -> InputError:
    return InputError(f"a part is no DICOM file: {reason}", hint="see PS3.10 chapter 7")


def _file_meta(data: bytes) -> FileMeta:
    values: dict[int, str] = {}
    position = 0
    while position + 8 <= len(data):
        _group, element, vr, length = struct.unpack_from("<HH2sH", data, position)
        position += 8
        if vr in _LONG_VRS:
            length = int.from_bytes(data[position : position + 4], "little")
            position += 4
        values[element] = data[position : position + length].decode("latin-1").strip(" \0")
        position += length
    meta = FileMeta(values.get(0x0002, ""), values.get(0x0003, ""), values.get(0x0010, ""))
    if not (meta.sop_class_uid and meta.sop_instance_uid and meta.transfer_syntax_uid):
        raise _not_a_file("the file meta information names no SOP instance or transfer syntax")
    return meta

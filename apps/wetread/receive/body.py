"""The bytes of one data set while they arrive, with bounded memory."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from wetread.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MEMORY_BYTES = 16 << 20
_READ_BYTES = 1 << 20


class Body:
    """Chunks in memory up to `memory_bytes`; what is larger goes to an unnamed file in `folder`.

    The file has no name, so nothing is left of it if the process dies. `check_room` is asked
    before every write to that file and raises StorageError if the disk is too full.
    """

    def __init__(
        self, folder: Path, check_room: Callable[[int], None], memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.size_bytes = 0
        self._folder = folder
        self._check_room = check_room
        self._memory_bytes = memory_bytes
        self._chunks: list[ReadableBuffer] = []
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def write(self, chunk: ReadableBuffer) -> None:
        """Append `chunk`, which must not change afterwards. Raises StorageError."""
        self._digest.update(chunk)
        self.size_bytes += memoryview(chunk).nbytes
        if self._file is None and self.size_bytes <= self._memory_bytes:
            self._chunks.append(chunk)
        else:
            self._write_to_file(chunk)

    def _write_to_file(self, chunk: ReadableBuffer) -> None:
        try:
            if self._file is None:
                self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 - see close()
                self._check_room(self.size_bytes)
                self._file.writelines(self._chunks)
                self._chunks.clear()
            self._check_room(memoryview(chunk).nbytes)
            self._file.write(chunk)
        except OSError as error:
            raise StorageError(
                f"cannot write to {self._folder}: {error.strerror}",
                hint="free space on the spool's disk, check the folder's owner and mode",
            ) from error

    @property
    def sha256(self) -> str:
        """The digest of what was written so far, in hexadecimal."""
        return self._digest.hexdigest()

    def chunks(self) -> Iterator[ReadableBuffer]:
        """Everything written, from the start."""
        if self._file is None:
            yield from self._chunks
            return
        self._file.seek(0)
        while chunk := self._file.read(_READ_BYTES):
            yield chunk

    def head(self, size_bytes: int) -> bytes:
        """The first bytes, at most `size_bytes`."""
        head = bytearray()
        for chunk in self.chunks():
            head += memoryview(chunk)[: size_bytes - len(head)]
            if len(head) >= size_bytes:
                break
        return bytes(head)

    def open(self) -> BinaryIO:
        """A readable stream over everything; it does not outlive the body."""
        if self._file is None:
            return io.BytesIO(b"".join(self._chunks))
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Forget the bytes."""
        self._chunks.clear()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

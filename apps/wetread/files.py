"""Files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wetread.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ONE_LINE = "write it there as one line"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def write_atomically(path: Path, chunks: Iterable[ReadableBuffer]) -> None:
    """Write `chunks` to `path` so that a reader sees the old file, or the new one, never a part.

    The bytes go to a temporary file beside `path`, are synced, renamed into place, and the folder
    is synced, so the file outlives a loss of power.

    Raises StorageError if the disk is full or the folder cannot be written; nothing is left then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb", buffering=0) as file:
            for chunk in chunks:
                _write_all(file.fileno(), chunk)
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        # The folder itself may be what is wrong; the first error is the one to tell.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        hint = (
            "free space on that disk"
            if error.errno in _NO_ROOM
            else "check the folder's owner and mode"
        )
        raise StorageError(f"cannot write {path}: {error.strerror}", hint=hint) from error


def write_if_other(path: Path, content: bytes) -> None:
    """Write `content` to `path`, see `write_atomically`, unless that is what it has."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, [content])


@contextlib.contextmanager
def aside(folder: Path, purpose: str) -> Iterator[Path]:
    """A hidden folder in `folder`, for what is not judged yet; it is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{purpose}-", dir=folder))
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden)


def secret_in(path: Path | None, setting: str) -> str:
    """The password or token that the file of a setting holds; "" without a file.

    Raises ConfigError if it cannot be read, or holds none.
    """
    if path is None:
        return ""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"{setting}: cannot read {path}: {error.strerror}",
            hint="check the path and who may read it",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{setting}: {path} is no text", hint=_ONE_LINE) from error
    if not secret:
        raise ConfigError(f"{setting}: {path} is empty", hint=_ONE_LINE)
    return secret


def _write_all(descriptor: int, chunk: ReadableBuffer) -> None:
    view = memoryview(chunk).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (fsync of the directory)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Who works on the files of a study: many may add to it, or one may remove them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from wetread.errors import StorageError

_LOCKS = 16


class StudyLocks:
    """Locks on folders, so that they hold between processes, end with the process that has them,
    and need no room on a full disk.

    Studies share 16 of them: a study may wait for another one, for as long as that takes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        """Make the folders. Raises OSError."""
        for number in range(_LOCKS):
            self._path(number).mkdir(parents=True, exist_ok=True)
            self._path(number, "file-").mkdir(exist_ok=True)

    def _path(self, number: int, kind: str = "") -> Path:
        return self._folder / f"{kind}{number:02d}"

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """While a name is looked for and taken, nobody else takes it: two callers may send the same
        instance at once. Raises as `adding`."""
        with self._opened(self._path(_number(path.name), "file-")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def adding(self, study_instance_uid: str) -> Iterator[None]:
        """While files of the study are written and recorded, none of them is removed.

        Waits for a removal under way. Raises StorageError if the folder cannot be used.
        """
        with self._opened(self._path(_number(study_instance_uid))) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def removing(self, study_instance_uid: str) -> Iterator[bool]:
        """Gives whether the study is ours to remove from; nothing is added meanwhile then.

        False if somebody adds to it now, or keeps everything. Raises as `adding`.
        """
        with self._opened(self._path(_number(study_instance_uid))) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextlib.contextmanager
    def keeping_everything(self) -> Iterator[None]:
        """While it lasts, nothing is removed from any study. Waits for removals under way."""
        with contextlib.ExitStack() as held:
            for number in range(_LOCKS):
                lock = held.enter_context(self._opened(self._path(number)))
                fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def _opened(self, folder: Path) -> Iterator[int]:
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StorageError(
                f"cannot use {self._folder}: {error.strerror}",
                hint="check the folder's owner and mode",
            ) from error
        try:
            yield lock
        finally:
            os.close(lock)


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) % _LOCKS

"""Received instances on disk: whole or not there, one file for each distinct data set."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wetread import metrics
from wetread.config import Config
from wetread.errors import InputError, StorageError
from wetread.files import write_atomically
from wetread.receive.body import Body
from wetread.receive.share import Share, data_set_offset, open_share
from wetread.receive.study_locks import StudyLocks

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# Nobody writes to one file for so long.
_ABANDONED_SECONDS = 3600.0
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class InstanceUids:
    """The three UIDs that name an instance and its place in the spool."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """One instance on disk.

    `sha256` and `size_bytes` are those of the data set, without the Part-10 header, so that one
    object sent by two callers compares equal. `is_new` is false if the same bytes lay there before.
    """

    path: Path
    sha256: str
    size_bytes: int
    is_new: bool = True


class Spool:
    """`<path>/received/<study>/<series>/<sop>.dcm`, and a folder for results.

    With a `share` every file is in its bucket too, and a name says what its file holds:
    `<sop>.<sha256 of the data set>.dcm`, so that two machines never give one name to two files.
    """

    def __init__(
        self,
        path: Path,
        min_free_bytes: int,
        *,
        in_use: bool = False,
        share: Share | None = None,
    ) -> None:
        """Make the folders and remove what a crash left behind. Raises StorageError.

        With `in_use`, another process may be writing here: only what is an hour old is removed.
        """
        self.path = path
        self.share = share
        self.min_free_bytes = min_free_bytes
        self.received_folder = path / "received"
        self.results_folder = path / "results"
        self._incoming_folder = path / "incoming"
        self.study_locks = StudyLocks(path / "locks")
        self._prepare(in_use=in_use)

    @classmethod
    def of(cls, config: Config, *, in_use: bool) -> Spool:
        """The spool of these settings. Raises as `Spool`, and ConfigError."""
        spool = config.spool
        return cls(spool.path, spool.min_free_bytes, in_use=in_use, share=open_share(config))

    def _prepare(self, *, in_use: bool) -> None:
        try:
            for folder in (self.received_folder, self.results_folder, self._incoming_folder):
                folder.mkdir(parents=True, exist_ok=True)
            self.study_locks.make()
            newest = time.time() - _ABANDONED_SECONDS if in_use else float("inf")
            for stale in self.path.rglob(".*.part"):
                if written_at(stale) <= newest:
                    stale.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot use the spool {self.path}: {error.strerror}",
                hint="check the folder's owner and mode",
            ) from error

    def check_room(self, size_bytes: int) -> None:
        """Raise StorageError if `size_bytes` more would leave less than `min_free_bytes` free."""
        try:
            disk = os.statvfs(self.path)
        except OSError as error:
            raise StorageError(
                f"cannot look at the spool {self.path}: {error.strerror}",
                hint="check that the disk is mounted",
            ) from error
        free_bytes = disk.f_bavail * disk.f_frsize
        metrics.SPOOL_FREE_BYTES.set(free_bytes)
        metrics.SPOOL_DISK_BYTES.set(disk.f_blocks * disk.f_frsize)
        if free_bytes - size_bytes < self.min_free_bytes:
            raise StorageError(
                f"spool {self.path}: {free_bytes} bytes free, {size_bytes} to write and "
                f"{self.min_free_bytes} to stay free",
                hint="free space on that disk, or lower spool.min_free_bytes",
            )

    def new_body(self) -> Body:
        """An empty body for a data set that is about to arrive."""
        return Body(self._incoming_folder, self.check_room)

    def store(self, uids: InstanceUids, header: bytes, body: Body) -> SpooledFile:
        """Write `header` and the data set in `body` as one Part-10 file, durable on return.

        The same data set again gives the file that is there already; another data set under the
        same UID is kept beside it as `<sop>.<first 8 of its sha256>.dcm`.

        Raises InputError for a UID that cannot be a file name, StorageError if it does not fit.
        """
        path = self.path_of(uids)
        if self.share is not None:
            path = path.with_name(f"{path.stem}.{body.sha256}.dcm")
        self.check_room(len(header) + body.size_bytes)
        with self.study_locks.writing(path):
            found = self._existing(path, body)
            if found is None:
                if path.exists():
                    path = _beside(path, body.sha256)
                write_atomically(path, _parts(header, body))
        self.publish(found or path)
        return SpooledFile(found or path, body.sha256, body.size_bytes, is_new=found is None)

    def publish(self, path: Path) -> None:
        """Let other machines have a file of the spool; nothing to do where they see this disk.

        Raises StorageError.
        """
        if self.share is not None:
            self.share.publish(path)

    def obtain(self, paths: Iterable[Path]) -> None:
        """Have files of the spool here that another machine may have written.

        Raises ShareAwayError, and StorageError for a file that is nowhere or not what it was.
        """
        if self.share is not None:
            self.share.obtain(paths)

    def has(self, path: Path) -> bool:
        """Whether the file is in the spool. Raises StorageError."""
        return path.is_file() or (self.share is not None and self.share.has(path))

    def path_of(self, uids: InstanceUids) -> Path:
        """Where the first data set of these UIDs lies. Raises InputError for a hostile UID."""
        folder = self.received_folder / _checked("Study Instance UID", uids.study_instance_uid)
        folder /= _checked("Series Instance UID", uids.series_instance_uid)
        return folder / f"{_checked('SOP Instance UID', uids.sop_instance_uid)}.dcm"

    @staticmethod
    def _existing(path: Path, body: Body) -> Path | None:
        for candidate in (path, _beside(path, body.sha256)):
            if candidate.exists() and _data_set_equals(candidate, body):
                return candidate
        return None


def written_at(path: Path) -> float:
    """Seconds since 1970; if it is gone already, never."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _beside(path: Path, sha256: str) -> Path:
    return path.with_name(f"{path.stem}.{sha256[:8]}.dcm")


def _parts(header: bytes, body: Body) -> Iterator[ReadableBuffer]:
    yield header
    yield from body.chunks()


def _checked(name: str, uid: str) -> str:
    """A UID has 1 to 64 digits and dots (PS3.5 9.1); anything else could leave the folder."""
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise InputError(
            f"{name} is not a UID: {uid[:64]!r}",
            hint="a UID has up to 64 digits and dots; ask the sender to correct it",
        )
    return uid


def _data_set_equals(path: Path, body: Body) -> bool:
    try:
        with path.open("rb") as file:
            offset = data_set_offset(file.read(144))
            if os.fstat(file.fileno()).st_size - offset != body.size_bytes:
                return False
            file.seek(offset)
            return _sha256(iter(lambda: file.read(_READ_BYTES), b"")) == body.sha256
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}", hint="check the disk of the spool"
        ) from error


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

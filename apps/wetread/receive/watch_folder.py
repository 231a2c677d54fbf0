"""A folder as a door: DICOM files that somebody puts there are taken in and removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from wetread.background import Background
from wetread.config import WatchFolderConfig
from wetread.errors import ConfigError, InputError, LedgerError, StorageError
from wetread.files import write_atomically
from wetread.receive.accept import Arrival, Intake, Record, arrival_of_file, count_refusal
from wetread.receive.part10 import Part10Reader
from wetread.receive.spool import Spool

log = structlog.get_logger()

WATCH_FOLDER_CALLER = "WATCH-FOLDER"
REFUSED = "refused"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Seen:
    """How a file looked, and since when."""

    size_bytes: int
    changed_ns: int
    since: float


class WatchFolder(Background):
    """Takes every file once it has not changed for `settle_seconds`.

    One that is no DICOM file, or that the spool refuses, is moved to `refused/` with the reason
    beside it; nothing else is ever lost. Hidden files, and those that end in `.part`, are left to
    whoever writes them.

    Raises ConfigError if the folder is not there.
    """

    def __init__(
        self,
        config: WatchFolderConfig,
        spool: Spool,
        record: Record,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.path is None or not config.path.is_dir():
            raise ConfigError(
                f"watch_folder.path: {config.path} is no folder",
                hint="make it, or mount the share, before wetread starts",
            )
        super().__init__("watch folder")
        self._root = config.path
        self._config = config
        self._intake = Intake(spool, record)
        self._clock = clock
        self._seen: dict[Path, _Seen] = {}

    def open_callers(self) -> frozenset[str]:
        """WATCH_FOLDER_CALLER while files lie there that are not taken yet."""
        return frozenset({WATCH_FOLDER_CALLER} if self._seen else ())

    def _run(self) -> None:
        while not self._stopping.wait(self._config.poll_seconds):
            try:
                self.look()
            except (StorageError, LedgerError) as error:
                log.error("the watch folder waits", reason=error.message, hint=error.hint)

    def look(self) -> int:
        """Take what is ready, and say how many files that were.

        Raises StorageError or LedgerError if the spool or the folder cannot be used just now; what
        was not taken stays.
        """
        taken = 0
        try:
            found = {path: self._look_at(path) for path in self._files()}
            self._seen = found
            for path, seen in sorted(found.items()):
                if self._stopping.is_set():
                    break
                if self._clock() - seen.since >= self._config.settle_seconds:
                    self._take(path)
                    del self._seen[path]
                    taken += 1
        except OSError as error:
            raise StorageError(
                f"watch folder {self._root}: {error.strerror} ({error.filename})",
                hint="check the share, and that wetread may write there",
            ) from error
        return taken

    def _files(self) -> Iterator[Path]:
        for path in self._root.rglob("*"):
            inside = path.relative_to(self._root).parts
            hidden = any(part.startswith(".") for part in inside) or path.suffix == ".part"
            if not hidden and inside[0] != REFUSED and path.is_file() and not path.is_symlink():
                yield path

    def _look_at(self, path: Path) -> _Seen:
        status = path.stat()
        before, now = self._seen.get(path), self._clock()
        same = before and (before.size_bytes, before.changed_ns) == (
            status.st_size,
            status.st_mtime_ns,
        )
        since = before.since if before and same else now
        return _Seen(status.st_size, status.st_mtime_ns, since)

    def _take(self, path: Path) -> None:
        arrival = Arrival(WATCH_FOLDER_CALLER, "", "", "", "", counted_as=WATCH_FOLDER_CALLER)
        part = Part10Reader(self._intake.spool.new_body())
        try:
            with path.open("rb") as file:
                while chunk := file.read(_READ_BYTES):
                    part.write(chunk)
            arrival = arrival_of_file(part.meta, WATCH_FOLDER_CALLER)
            self._intake.accept(part.body, arrival)
        except InputError as error:
            count_refusal(error, arrival)
            self._set_aside(path, error)
            return
        finally:
            part.body.close()
        path.unlink()
        self._tidy(path.parent)

    def _set_aside(self, path: Path, error: InputError) -> None:
        place = self._root / REFUSED / path.relative_to(self._root)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        reason = f"{error.message}\n\nhint: {error.hint}\n"
        write_atomically(place.with_name(f"{place.name}.txt"), [reason.encode()])
        self._tidy(path.parent)

    def _tidy(self, folder: Path) -> None:
        """Remove folders that are empty now; never the watched one."""
        while folder != self._root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

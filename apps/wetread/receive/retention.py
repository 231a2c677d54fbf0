"""Removing the local copies of finished studies.

The order, so that no file is missing which the ledger counts on, wherever it is cut short:

1. no sender adds to the study meanwhile (`StudyLocks`);
2. one transaction looks once more that the study is finished, and notes that its files are gone;
3. the files are removed;
4. the removal is noted as ended.

After a crash between 2 and 4 the next look goes on with 3. An image that came again in between is
in the ledger again, and stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from wetread import metrics
from wetread.background import Background
from wetread.config import Config, RetentionConfig
from wetread.errors import StorageError, WetreadError, codes_for
from wetread.files import sync_folder
from wetread.ledger import FinishedStudy, Ledger, Removal
from wetread.receive.spool import Spool, written_at

log = structlog.get_logger()

DAY_SECONDS = 86_400.0
# The two folders of the spool, not those of one study or job.
_NEVER_REMOVED = ("received", "results")


@dataclass(frozen=True, slots=True)
class Expired:
    """A study that may go, and why; `size_bytes` of images and results."""

    study: FinishedStudy
    size_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What should go now, oldest first, and how full the spool is before and after."""

    expired: tuple[Expired, ...]
    used_bytes: int

    @property
    def left_bytes(self) -> int:
        """What stays in the spool."""
        return self.used_bytes - sum(each.size_bytes for each in self.expired)


def choose(
    studies: tuple[FinishedStudy, ...],
    sizes: Mapping[str, int],
    used_bytes: int,
    config: RetentionConfig,
    now: float,
) -> tuple[Expired, ...]:
    """Which of the finished `studies`, oldest first, should go at `now`. Pure.

    Those whose days are over; then, while more than `max_spool_bytes` would stay, the oldest. A
    study that has failed goes by its own days only: somebody may still want to try it again.
    """
    chosen = {
        each.study_instance_uid: reason
        for each in studies
        if (reason := _over(each, config, now)) is not None
    }
    left = used_bytes - sum(sizes.get(study, 0) for study in chosen)
    for each in studies:
        if config.max_spool_bytes is None or left <= config.max_spool_bytes:
            break
        if each.study_instance_uid not in chosen and not each.failed:
            chosen[each.study_instance_uid] = (
                f"the oldest of more than {config.max_spool_bytes} bytes in the spool"
            )
            left -= sizes.get(each.study_instance_uid, 0)
    return tuple(
        Expired(each, sizes.get(each.study_instance_uid, 0), chosen[each.study_instance_uid])
        for each in studies
        if each.study_instance_uid in chosen
    )


def _over(study: FinishedStudy, config: RetentionConfig, now: float) -> str | None:
    days = config.keep_failed_days if study.failed else config.keep_days
    if days is None or now - study.finished_at < days * DAY_SECONDS:
        return None
    what = "with a failure " if study.failed else ""
    return f"finished {what}{(now - study.finished_at) / DAY_SECONDS:.1f} days ago"


class Retention:
    """Looks what is over, and removes it. Safe in several processes on one spool."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        spool: Spool,
        open_studies: Callable[[], frozenset[str]] = frozenset,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._open_studies = open_studies
        self._now = clock
        # A message is no copy of the report that it was made from.
        self._keep_nothing = [
            name for name, to in config.destinations.items() if not to.keeps_objects
        ]

    def outlook(self) -> Outlook:
        """What should go now. Raises LedgerError."""
        books = self._ledger.removals
        busy = self._open_studies()
        finished = books.finished(self._quiet_since(), self._keep_nothing)
        studies = tuple(each for each in finished if each.study_instance_uid not in busy)
        results = {study: sum(map(_size, paths)) for study, paths in books.result_paths().items()}
        used_bytes = books.image_bytes() + sum(results.values())
        sizes = {
            each.study_instance_uid: each.image_bytes + results.get(each.study_instance_uid, 0)
            for each in studies
        }
        expired = choose(studies, sizes, used_bytes, self._config.retention, self._now())
        return Outlook(expired, used_bytes)

    def remove_expired(self) -> Iterator[Expired]:
        """Go on with what was cut short, then remove what should go now, study by study.

        Raises LedgerError, and StorageError if a file cannot be removed.
        """
        self.resume()
        yield from (each for each in self.outlook().expired if self._remove(each))

    def drop_unused(self) -> None:
        """Remove from this disk what nobody has used for a while, where a bucket has it, or where
        another machine has removed its study. Raises LedgerError and StorageError."""
        share = self._spool.share
        if share is None:
            return
        oldest = time.time() - share.keep_seconds
        for folder in (
            *self._spool.received_folder.iterdir(),
            *self._spool.results_folder.iterdir(),
        ):
            unused = [path for path in folder.rglob("*.dcm") if written_at(path) < oldest]
            if unused:
                needed = self._counted_on(folder)
                _remove_files(path for path in unused if path not in needed or share.has(path))

    def _counted_on(self, folder: Path) -> frozenset[Path]:
        """The files in a study's or a job's folder that the ledger says are there."""
        books = self._ledger
        if folder.parent == self._spool.received_folder:
            return books.removals.recorded_paths(folder.name)
        gone = books.removals.removed_results_of(folder.name)
        results = books.jobs.results_of(folder.name)
        return frozenset(each.path for each in results if each.sop_instance_uid not in gone)

    def resume(self) -> None:
        """Remove what the ledger no longer counts on and a crash has left. Raises as above."""
        for removal in self._ledger.removals.unfinished():
            with self._spool.study_locks.removing(removal.study_instance_uid) as ours:
                if ours:
                    self._finish(removal)

    def _remove(self, expired: Expired) -> bool:
        study = expired.study.study_instance_uid
        if study in self._open_studies():
            return False
        with self._spool.study_locks.removing(study) as ours:
            if not ours:
                return False
            removal = self._ledger.removals.begin(
                study, self._quiet_since(), expired.reason, self._keep_nothing
            )
            if removal is None:
                return False
            self._finish(removal)
        metrics.REMOVED_STUDIES.inc()
        metrics.REMOVED_BYTES.inc(expired.size_bytes)
        log.info("study removed", study_instance_uid=study, size_bytes=expired.size_bytes)
        return True

    def _finish(self, removal: Removal) -> None:
        share = self._spool.share
        if share is None:
            _remove_files([*self._ledger.removals.paths_of(removal), *self._left_over(removal)])
        else:
            # Locks on folders end with this machine's disk.
            with self._ledger.removals.alone_with(removal.study_instance_uid):
                paths = [*self._ledger.removals.paths_of(removal), *self._left_over(removal)]
                share.remove(paths)
            _remove_files(paths)
        self._ledger.removals.end(removal)

    def _left_over(self, removal: Removal) -> Iterator[Path]:
        """Files in the study's folders that no book names: a crash came before they were noted."""
        study = removal.study_instance_uid
        here = self._ledger.removals.recorded_paths(study)
        received = self._files_in(self._spool.received_folder / study)
        yield from (path for path in received if path not in here)
        for job_id in self._ledger.removals.job_ids(removal):
            yield from self._files_in(self._spool.results_folder / job_id)

    def _files_in(self, folder: Path) -> list[Path]:
        share = self._spool.share
        shared = [] if share is None else share.files_in(folder)
        return sorted({*folder.rglob("*.dcm"), *shared})

    def _quiet_since(self) -> float:
        """A study to which something came later is not at rest: the same pause as in assembly."""
        return self._now() - self._config.assembly.study_quiet_seconds


class RetentionThread(Background):
    """Removes what is over every `retention.check_seconds`; only goes on with what was begun where
    nothing is set."""

    def __init__(self, retention: Retention, config: RetentionConfig) -> None:
        super().__init__("retention")
        self._retention = retention
        self._config = config

    def _run(self) -> None:
        while True:
            try:
                self._look()
            except WetreadError as error:
                metrics.FAILURES.labels("retain", codes_for(error).label).inc()
                log.error("cannot remove finished studies", reason=str(error), hint=error.hint)
            if self._stopping.wait(self._config.check_seconds):
                return

    def _look(self) -> None:
        self._retention.drop_unused()
        if not self._config.removes:
            self._retention.resume()
            return
        for _ in self._retention.remove_expired():
            if self._stopping.is_set():
                return
        outlook, limit = self._retention.outlook(), self._config.max_spool_bytes
        if limit is not None and outlook.left_bytes > limit:
            metrics.FAILURES.labels("retain", "storage").inc()
            log.error(
                "the spool holds more than it should, and nothing more of it may go",
                used_bytes=outlook.used_bytes,
                max_spool_bytes=limit,
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove_files(paths: Iterable[Path]) -> None:
    """Remove files, and the folders of series, studies and jobs that are empty then; durable."""
    folders: set[Path] = set()
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_remove(path, error) from error
        folders.add(path.parent)
    while folders:
        folder = max(folders, key=lambda each: len(each.parts))
        folders.remove(folder)
        try:
            if _is_empty(folder) and folder.name not in _NEVER_REMOVED:
                folder.rmdir()
                folders.add(folder.parent)
            elif folder.is_dir():
                sync_folder(folder)
        except OSError as error:
            raise _cannot_remove(folder, error) from error


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _cannot_remove(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot remove {path}: {error.strerror}",
        hint="check the owner and mode of its folder; wetread tries again",
    )

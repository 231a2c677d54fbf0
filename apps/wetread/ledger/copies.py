"""What a copy of the ledger has to know: which files belong to it, and where they lie now."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Table, exists, func, literal, select, update

from wetread.ledger.book import Book
from wetread.ledger.records import JobState
from wetread.ledger.tables import (
    deliveries,
    instances,
    jobs,
    removed_instances,
    removed_results,
    results,
)

_WITH_PATHS: tuple[Table, ...] = (instances, removed_instances, results, deliveries)


class Copies(Book):
    """The ledger as one whole that can be somewhere else."""

    def spooled_paths(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """The images, and the results, that lie in the spool."""
        gone = exists().where(removed_results.c.sop_instance_uid == results.c.sop_instance_uid)
        with self._reading() as connection:
            images = connection.execute(select(instances.c.path).distinct()).scalars().all()
            objects = connection.execute(select(results.c.path).where(~gone)).scalars().all()
        return tuple(map(Path, images)), tuple(map(Path, objects))

    def move(self, old: Path, new: Path) -> None:
        """Say that what lay under the folder `old` lies under `new`."""
        with self._transaction() as connection:
            for table in _WITH_PATHS:
                moved = literal(str(new)) + func.substr(table.c.path, len(str(old)) + 1)
                under = func.substr(table.c.path, 1, len(str(old)) + 1) == f"{old}/"
                connection.execute(update(table).where(under).values(path=moved))

    def queue_running_jobs(self) -> None:
        """Let attempts that ran when the copy was made run again: nobody else goes on with them."""
        running = jobs.c.state == JobState.RUNNING
        values = {"state": JobState.QUEUED, "started_at": None, "progress": 0.0}
        with self._transaction() as connection:
            found = connection.execute(select(jobs).where(running)).all()
            connection.execute(update(jobs).where(running).values(**values))
            for row in found:
                event = f"attempt {row.attempt} runs again after a restore"
                self._note(connection, row.study_instance_uid, "read", event, row.job_id)

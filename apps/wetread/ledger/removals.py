"""The book of removals: which studies are finished, and whose files have gone from the spool."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from wetread.audit import events as audit
from wetread.ledger.book import Book
from wetread.ledger.database import one_at_a_time
from wetread.ledger.records import CommitmentState, DeliveryState, JobState, StudyState
from wetread.ledger.tables import (
    commitments,
    deliveries,
    instances,
    jobs,
    removals,
    removed_instances,
    removed_results,
    results,
    studies,
)

_COPIED = [column.name for column in removed_instances.columns][2:]


@dataclass(frozen=True, slots=True)
class FinishedStudy:
    """A study of which nothing is under way, and how much of it lies in the spool.

    `finished_at` is the time of its last event in seconds since 1970; `failed` says that something
    of it could not be read. `image_bytes` are without file headers.
    """

    study_instance_uid: str
    finished_at: float
    failed: bool
    images: int
    image_bytes: int


@dataclass(frozen=True, slots=True)
class Removal:
    """Files of a study, up to a generation, that the ledger no longer counts on."""

    removal_id: int
    study_instance_uid: str
    generation: int
    reason: str
    began_at: float
    ended_at: float | None


class Removals(Book):
    """Removals in two steps: `begin`, after which the files are not there for the ledger, and
    `end`, once they are not there indeed."""

    def finished(
        self, quiet_since: float, keep_nothing: Collection[str] = ()
    ) -> tuple[FinishedStudy, ...]:
        """Studies with images in the spool of which nothing is under way, oldest first.

        That is: nothing has come since `quiet_since` (seconds since 1970), every generation was
        routed, every job has ended, every delivery was made or became superfluous, every
        destination that is asked keeps it, and of every job's results something was delivered,
        to another destination than those in `keep_nothing`.
        """
        with self._reading() as connection:
            rows = connection.execute(_finished(quiet_since, keep_nothing)).all()
        found = [
            FinishedStudy(row.study, _last_event(row), bool(row.failed), row.images, row.bytes)
            for row in rows
        ]
        return tuple(sorted(found, key=lambda each: each.finished_at))

    def image_bytes(self) -> int:
        """Bytes of all images in the spool, without file headers."""
        with self._reading() as connection:
            total = connection.execute(select(func.sum(instances.c.size_bytes))).scalar_one()
        return int(total or 0)

    def result_paths(self) -> Mapping[str, tuple[Path, ...]]:
        """The files of results in the spool, by study."""
        gone = exists().where(removed_results.c.sop_instance_uid == results.c.sop_instance_uid)
        query = select(results.c.study_instance_uid, results.c.path).where(~gone)
        found: dict[str, list[Path]] = {}
        with self._reading() as connection:
            for study, path in connection.execute(query):
                found.setdefault(study, []).append(Path(path))
        return {study: tuple(paths) for study, paths in found.items()}

    def begin(
        self, study: str, quiet_since: float, reason: str, keep_nothing: Collection[str] = ()
    ) -> Removal | None:
        """Count on the files of a finished study no longer. None if it is not finished any more.

        From here on an instance of it that comes, even with the same bytes, is new.
        """
        with self._transaction() as connection:
            one_at_a_time(connection, study)
            row = connection.execute(_finished(quiet_since, keep_nothing, study)).first()
            if row is None:
                return None
            values = {
                "study_instance_uid": study,
                "generation": row.generation,
                "reason": reason,
                "began_at": self._now(),
            }
            made = connection.execute(insert(removals).values(**values).returning(removals)).one()
            count = _move_results(connection, study, made.removal_id)
            _move_instances(connection, study, made.removal_id)
            event = f"removed from the spool: {row.images} images, {count} results; {reason}"
            self._note(connection, study, "retain", event)
            self._audit(connection, audit.removed(study, event))
            return Removal(*made)

    def unfinished(self) -> tuple[Removal, ...]:
        """Removals that were begun and not ended, oldest first."""
        query = select(removals).where(removals.c.ended_at.is_(None))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(removals.c.removal_id)).all()
        return tuple(Removal(*row) for row in rows)

    def of_study(self, study: str) -> tuple[Removal, ...]:
        """Every removal of a study, oldest first."""
        query = select(removals).where(removals.c.study_instance_uid == study)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(removals.c.removal_id)).all()
        return tuple(Removal(*row) for row in rows)

    def paths_of(self, removal: Removal) -> tuple[Path, ...]:
        """The files to remove; an image that has come again since then is not among them."""
        images = select(removed_instances.c.path).where(
            removed_instances.c.removal_id == removal.removal_id
        )
        objects = (
            select(results.c.path)
            .join(removed_results, removed_results.c.sop_instance_uid == results.c.sop_instance_uid)
            .where(removed_results.c.removal_id == removal.removal_id)
        )
        with self._reading() as connection:
            found = [*connection.execute(images).scalars(), *connection.execute(objects).scalars()]
        here = self.recorded_paths(removal.study_instance_uid)
        return tuple(path for path in map(Path, dict.fromkeys(found)) if path not in here)

    def recorded_paths(self, study: str) -> frozenset[Path]:
        """The images of a study that lie in the spool."""
        query = select(instances.c.path).where(instances.c.study_instance_uid == study)
        with self._reading() as connection:
            return frozenset(map(Path, connection.execute(query).scalars()))

    def job_ids(self, removal: Removal) -> tuple[str, ...]:
        """The jobs whose results went with the removal."""
        query = select(jobs.c.job_id).where(
            jobs.c.study_instance_uid == removal.study_instance_uid,
            jobs.c.generation <= removal.generation,
        )
        with self._reading() as connection:
            return tuple(connection.execute(query).scalars())

    def removed_results_of(self, job_id: str) -> frozenset[str]:
        """SOP Instance UIDs of a job's results that are no longer in the spool."""
        query = (
            select(results.c.sop_instance_uid)
            .join(removed_results, removed_results.c.sop_instance_uid == results.c.sop_instance_uid)
            .where(results.c.job_id == job_id)
        )
        with self._reading() as connection:
            return frozenset(connection.execute(query).scalars())

    @contextmanager
    def alone_with(self, study: str) -> Iterator[None]:
        """While it lasts, no process on this PostgreSQL records an instance of the study."""
        with self._transaction() as connection:
            one_at_a_time(connection, study)
            yield

    def end(self, removal: Removal) -> None:
        """Note that the files are gone."""
        this = removals.c.removal_id == removal.removal_id
        with self._transaction() as connection:
            connection.execute(update(removals).where(this).values(ended_at=self._now()))


def _move_instances(connection: Connection, study: str, removal_id: int) -> None:
    columns = [instances.c[name] for name in _COPIED]
    here = instances.c.study_instance_uid == study
    rows = [
        {**row._mapping, "removal_id": removal_id}
        for row in connection.execute(select(*columns).where(here).order_by(instances.c.id))
    ]
    connection.execute(insert(removed_instances), rows)
    connection.execute(delete(instances).where(here))


def _move_results(connection: Connection, study: str, removal_id: int) -> int:
    gone = exists().where(removed_results.c.sop_instance_uid == results.c.sop_instance_uid)
    query = select(results.c.sop_instance_uid).where(
        results.c.job_id == jobs.c.job_id, jobs.c.study_instance_uid == study, ~gone
    )
    uids = list(connection.execute(query).scalars())
    rows = [{"sop_instance_uid": uid, "removal_id": removal_id} for uid in uids]
    if rows:
        connection.execute(insert(removed_results), rows)
    return len(rows)


def _finished(
    quiet_since: float, keep_nothing: Collection[str], study: str | None = None
) -> Select[Any]:
    """One row a study that may go, see `Removals.finished`."""
    here = instances.c.study_instance_uid
    present = select(
        here.label("study"),
        func.count().label("images"),
        func.sum(instances.c.size_bytes).label("bytes"),
        func.max(instances.c.generation).label("generation"),
    ).group_by(here)
    if study is not None:
        present = present.where(here == study)
    found = present.subquery()
    this = found.c.study
    received = _latest(studies.c.last_received_at, studies.c.study_instance_uid == this)
    return select(
        *found.c,
        received.label("received_at"),
        _latest(studies.c.completed_at, studies.c.study_instance_uid == this).label("completed_at"),
        _latest(jobs.c.finished_at, jobs.c.study_instance_uid == this).label("finished_at"),
        _latest(
            deliveries.c.delivered_at,
            deliveries.c.job_id == jobs.c.job_id,
            jobs.c.study_instance_uid == this,
        ).label("delivered_at"),
        _latest(
            commitments.c.answered_at,
            commitments.c.delivery_id == deliveries.c.delivery_id,
            deliveries.c.job_id == jobs.c.job_id,
            jobs.c.study_instance_uid == this,
        ).label("answered_at"),
        _failed(this).label("failed"),
    ).where(received <= quiet_since, ~_under_way(this), ~_kept_nowhere_else(this, keep_nothing))


def _latest(column: ColumnElement[Any], *where: ColumnElement[bool]) -> ColumnElement[Any]:
    return select(func.max(column)).where(*where).scalar_subquery()


def _failed(this: ColumnElement[str]) -> ColumnElement[bool]:
    study = (studies.c.study_instance_uid == this, studies.c.state == StudyState.FAILED)
    job = (jobs.c.study_instance_uid == this, jobs.c.state == JobState.FAILED)
    return exists().where(*study) | exists().where(*job)


def _under_way(this: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether instances arrive, a study waits for its turn, a job or a delivery is open or dead,
    or a destination has not said yet that it keeps what it was sent."""
    study = (
        studies.c.study_instance_uid == this,
        studies.c.state.in_((StudyState.ARRIVING, StudyState.COMPLETE)),
    )
    job = (
        jobs.c.study_instance_uid == this,
        jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)),
    )
    delivery = (
        jobs.c.study_instance_uid == this,
        deliveries.c.job_id == jobs.c.job_id,
        deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.DEAD)),
    )
    uncommitted = (
        jobs.c.study_instance_uid == this,
        deliveries.c.job_id == jobs.c.job_id,
        deliveries.c.state == DeliveryState.DELIVERED,
        commitments.c.delivery_id == deliveries.c.delivery_id,
        commitments.c.state != CommitmentState.COMMITTED,
    )
    return (
        exists().where(*study)
        | exists().where(*job)
        | exists().where(*delivery)
        | exists().where(*uncommitted)
    )


def _kept_nowhere_else(
    this: ColumnElement[str], keep_nothing: Collection[str]
) -> ColumnElement[bool]:
    """Whether a job has valid results of which no destination that keeps objects has any."""
    delivered = exists().where(
        deliveries.c.job_id == results.c.job_id,
        deliveries.c.state == DeliveryState.DELIVERED,
        deliveries.c.destination.not_in(keep_nothing),
    )
    return exists().where(
        jobs.c.study_instance_uid == this,
        results.c.job_id == jobs.c.job_id,
        results.c.superseded.is_(False),
        ~delivered,
    )


def _last_event(row: Row[Any]) -> float:
    times = (
        row.received_at,
        row.completed_at,
        row.finished_at,
        row.delivered_at,
        row.answered_at,
    )
    return max(float(time) for time in times if time is not None)

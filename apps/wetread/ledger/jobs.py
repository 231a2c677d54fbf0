"""The book of jobs and of the objects that they wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from wetread.audit import events as audit
from wetread.audit.events import Outcome
from wetread.errors import LedgerError
from wetread.ledger.book import Book
from wetread.ledger.database import insert_once, one_at_a_time
from wetread.ledger.records import (
    DeliveryState,
    Failure,
    JobRecord,
    JobState,
    ResultRecord,
)
from wetread.ledger.tables import deliveries, interruptions, jobs, removals, results
from wetread.uids import derived_uid

_OPEN = (JobState.QUEUED, JobState.RUNNING)


class Jobs(Book):
    """Jobs by id; every call that changes one names its attempt, so a stale run changes nothing."""

    def get(self, job_id: str) -> JobRecord:
        """One job. Raises LedgerError if there is none of that id."""
        with self._reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).first()
        if row is None:
            raise LedgerError(f"no job {job_id} in the ledger", hint="`wetread jobs list`")
        return _job(row)

    def list(
        self, *, state: JobState | None = None, study: str | None = None, limit: int = 1000
    ) -> tuple[JobRecord, ...]:
        """Jobs, newest first, of one state or one study if named."""
        query = select(jobs).order_by(jobs.c.created_at.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if study is not None:
            query = query.where(jobs.c.study_instance_uid == study)
        with self._reading() as connection:
            return tuple(_job(row) for row in connection.execute(query).all())

    def due(self) -> tuple[JobRecord, ...]:
        """Queued jobs that wait for nothing but their turn."""
        now = self._now()
        queued = self.list(state=JobState.QUEUED)
        return tuple(each for each in queued if each.next_try_at is None or each.next_try_at <= now)

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with self._reading() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def start(self, job: JobRecord) -> bool:
        """Note that an attempt runs. False if the job was cancelled or has moved on.

        One that runs already was cut short, most likely because its process died; that is counted.
        """
        values = {
            "state": JobState.RUNNING,
            "started_at": self._now(),
            "next_try_at": None,
            "error": None,
        }
        with self._deciding() as connection:
            state = select(jobs.c.state).where(jobs.c.job_id == job.job_id)
            was_running = connection.execute(state).scalar() == JobState.RUNNING
            if not _change(connection, job, values):
                return False
            again = " again, it was cut short" if was_running else ""
            if was_running:
                _count_interruption(connection, job)
            self._note(
                connection,
                job.study_instance_uid,
                "read",
                f"{job.model} starts{again}, attempt {job.attempt}",
                job.job_id,
            )
            return True

    def interruptions(self, job: JobRecord) -> int:
        """How often this attempt was cut short."""
        query = select(interruptions.c.times).where(*_interruption_is(job))
        with self._reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def progress(self, job: JobRecord, stage: str, fraction: float) -> bool:
        """Note how far a running attempt is. Returns True if somebody asked to cancel it."""
        with self._deciding() as connection:
            _change(connection, job, {"stage": stage, "progress": fraction})
            query = select(jobs.c.cancel_requested).where(jobs.c.job_id == job.job_id)
            return bool(connection.execute(query).scalar_one())

    def finish(
        self,
        job: JobRecord,
        outcome: str,
        seconds: Mapping[str, float],
        written: Sequence[ResultRecord],
        kinds_by_destination: Mapping[str, Sequence[str]],
    ) -> tuple[str, ...]:
        """Note the results of an attempt and ask for their deliveries, all or nothing.

        Earlier results of the same model on the same series are superseded and what of them was
        not yet delivered is cancelled. If a later generation was read in the meantime, it is these
        results that are superseded, and nothing is delivered. Returns the new delivery ids.
        """
        values = {
            "state": JobState.DONE,
            "finished_at": self._now(),
            "outcome": outcome,
            "seconds": json.dumps(dict(seconds)),
            "stage": "",
            "progress": 1.0,
        }
        with self._deciding() as connection:
            # Of two generations that end together, one must see the other's results.
            one_at_a_time(connection, job.study_instance_uid)
            if not _change(connection, job, values):
                return ()
            overtaken = _overtaken(connection, job)
            for record in written:
                row = {**_result_row(record), "superseded": overtaken}
                connection.execute(insert(results).values(**row))
            event = f"{job.model}: {outcome}" + (" (superseded)" if overtaken else "")
            self._note(connection, job.study_instance_uid, "read", event, job.job_id)
            self._audit(connection, _read(job, Outcome.SUCCESS, outcome))
            if overtaken:
                return ()
            self._supersede(connection, job)
            return tuple(
                self._ask_delivery(connection, record, destination)
                for destination, kinds in kinds_by_destination.items()
                for record in written
                if record.kind in kinds
            )

    def _supersede(self, connection: Connection, job: JobRecord) -> None:
        earlier = (
            *_same_reading(job),
            results.c.superseded.is_(False),
            ~((results.c.job_id == job.job_id) & (results.c.attempt == job.attempt)),
        )
        uids = list(
            connection.execute(select(results.c.sop_instance_uid).where(*earlier)).scalars()
        )
        if not uids:
            return
        connection.execute(
            update(results).where(results.c.sop_instance_uid.in_(uids)).values(superseded=True)
        )
        connection.execute(
            update(deliveries)
            .where(
                deliveries.c.sop_instance_uid.in_(uids),
                deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.DEAD)),
            )
            .values(state=DeliveryState.CANCELLED)
        )
        event = f"{len(uids)} earlier objects superseded"
        self._note(connection, job.study_instance_uid, "read", event, job.job_id)

    def _ask_delivery(self, connection: Connection, record: ResultRecord, destination: str) -> str:
        delivery_id = derived_uid("delivery", record.sop_instance_uid, destination)[-12:]
        now = self._now()
        insert_once(
            connection,
            deliveries,
            {
                "delivery_id": delivery_id,
                "sop_instance_uid": record.sop_instance_uid,
                "job_id": record.job_id,
                "destination": destination,
                "kind": record.kind,
                "path": str(record.path),
                "state": DeliveryState.PENDING,
                "attempt": 0,
                "attempts_since_retry": 0,
                "next_try_at": now,
                "created_at": now,
            },
        )
        return delivery_id

    def fail(self, job: JobRecord, failure: Failure) -> None:
        """Note that an attempt ended in an error."""
        values = {
            "state": JobState.FAILED,
            "finished_at": self._now(),
            "error": failure.to_json(),
        }
        with self._deciding() as connection:
            if _change(connection, job, values):
                event = f"failed: {failure.message}"
                self._note(connection, job.study_instance_uid, "read", event, job.job_id)
                self._audit(connection, _read(job, Outcome.SERIOUS, failure.message))

    def put_off(self, job: JobRecord, failure: Failure, seconds: float) -> None:
        """Queue the next attempt of a running job that could not be done just now."""
        values = {
            "state": JobState.QUEUED,
            "attempt": job.attempt + 1,
            "attempts_since_retry": job.attempts_since_retry + 1,
            "next_try_at": self._now() + seconds,
            "started_at": None,
            "progress": 0.0,
            "error": failure.to_json(),
        }
        with self._deciding() as connection:
            if _change(connection, job, values):
                event = f"put off for {seconds:.0f} s: {failure.message}"
                self._note(connection, job.study_instance_uid, "read", event, job.job_id)
                self._audit(connection, _read(job, Outcome.MINOR, event))

    def retry(self, job_id: str) -> JobRecord:
        """Queue the next attempt of a job that has ended, or do not let it wait any longer.

        Raises LedgerError if it is running, or waits for nothing but its turn, or its images are
        no longer here.
        """
        job = self.get(job_id)
        if job.state in _OPEN and job.next_try_at is None:
            raise LedgerError(
                f"job {job_id} is {job.state}", hint="wait for it, or `wetread jobs cancel` first"
            )
        values = {
            "state": JobState.QUEUED,
            "attempt": job.attempt + 1,
            "attempts_since_retry": 0,
            "next_try_at": None,
            "created_at": self._now(),
            "cancel_requested": False,
            "started_at": None,
            "finished_at": None,
            "error": None,
            "outcome": None,
            "progress": 0.0,
        }
        this = (jobs.c.job_id == job_id, jobs.c.attempt == job.attempt)
        with self._transaction() as connection:
            _check_images_are_here(connection, job)
            connection.execute(update(jobs).where(*this).values(**values))
            event = f"attempt {job.attempt + 1} asked for"
            self._note(connection, job.study_instance_uid, "read", event, job_id)
            self._audit(connection, _asked("retry", job))
        return self.get(job_id)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a queued job now, a running one at its next step.

        Raises LedgerError if it has ended.
        """
        job = self.get(job_id)
        if job.state not in _OPEN:
            raise LedgerError(f"job {job_id} has ended: {job.state}", hint="nothing to cancel")
        with self._transaction() as connection:
            queued = (jobs.c.job_id == job_id, jobs.c.state == JobState.QUEUED)
            now = {"state": JobState.CANCELLED, "finished_at": self._now()}
            connection.execute(update(jobs).where(*queued).values(**now))
            connection.execute(
                update(jobs).where(jobs.c.job_id == job_id).values(cancel_requested=True)
            )
            self._note(connection, job.study_instance_uid, "read", "cancel asked for", job_id)
            self._audit(connection, _asked("cancel", job))
        return self.get(job_id)

    def cancelled(self, job: JobRecord) -> None:
        """Note that a running attempt stopped because somebody asked for it."""
        values = {"state": JobState.CANCELLED, "finished_at": self._now()}
        with self._deciding() as connection:
            if _change(connection, job, values):
                self._note(connection, job.study_instance_uid, "read", "cancelled", job.job_id)
                self._audit(connection, _read(job, Outcome.MINOR, "cancelled"))

    def results_of(self, job_id: str) -> tuple[ResultRecord, ...]:
        """The objects that a job wrote, in all its attempts, oldest first."""
        query = select(results).where(results.c.job_id == job_id).order_by(results.c.created_at)
        with self._reading() as connection:
            return tuple(_result(row) for row in connection.execute(query).all())

    def live_predecessors(self, job: JobRecord) -> tuple[ResultRecord, ...]:
        """The objects that this attempt will replace: same model, same series, not superseded."""
        query = select(results).where(
            *_same_reading(job),
            results.c.superseded.is_(False),
            ~((results.c.job_id == job.job_id) & (results.c.attempt == job.attempt)),
        )
        with self._reading() as connection:
            return tuple(_result(row) for row in connection.execute(query).all())


def _read(job: JobRecord, outcome: Outcome, what: str) -> audit.Message:
    return audit.read(job.study_instance_uid, job.job_id, job.model, outcome, what)


def _asked(what: str, job: JobRecord) -> audit.Message:
    return audit.asked(what, "job", job.job_id, job.study_instance_uid)


def _check_images_are_here(connection: Connection, job: JobRecord) -> None:
    query = select(removals.c.generation).where(
        removals.c.study_instance_uid == job.study_instance_uid,
        removals.c.generation >= job.generation,
    )
    if connection.execute(query.limit(1)).first() is not None:
        raise LedgerError(
            f"the images of job {job.job_id} were removed from the spool",
            hint="send the study again: it is read anew then; `wetread studies show` says when",
        )


def _same_reading(job: JobRecord) -> tuple[Any, ...]:
    """Of the same stack, too; a series that was whole may be in stacks now, or the reverse."""
    others = select(jobs.c.job_id).where(jobs.c.stack.not_in((job.stack, "")))
    return (
        results.c.source_series_instance_uid == job.series_instance_uid,
        results.c.study_instance_uid == job.study_instance_uid,
        results.c.model == job.model,
        *([results.c.job_id.not_in(others)] if job.stack else []),
    )


def _overtaken(connection: Connection, job: JobRecord) -> bool:
    later = select(results.c.sop_instance_uid).where(
        *_same_reading(job), results.c.generation > job.generation
    )
    return connection.execute(later.limit(1)).first() is not None


def _change(connection: Connection, job: JobRecord, values: Mapping[str, Any]) -> bool:
    """Change a job that is still open at this attempt. Returns whether it was."""
    this = (
        jobs.c.job_id == job.job_id,
        jobs.c.attempt == job.attempt,
        jobs.c.state.in_(_OPEN),
    )
    return connection.execute(update(jobs).where(*this).values(**values)).rowcount == 1


def _interruption_is(job: JobRecord) -> tuple[Any, ...]:
    return interruptions.c.job_id == job.job_id, interruptions.c.attempt == job.attempt


def _count_interruption(connection: Connection, job: JobRecord) -> None:
    first = {"job_id": job.job_id, "attempt": job.attempt, "times": 1}
    if not insert_once(connection, interruptions, first):
        more = {"times": interruptions.c.times + 1}
        connection.execute(update(interruptions).where(*_interruption_is(job)).values(**more))


def _result_row(record: ResultRecord) -> dict[str, Any]:
    names = record.__dataclass_fields__
    return {name: getattr(record, name) for name in names} | {"path": str(record.path)}


def _result(row: Row[Any]) -> ResultRecord:
    return ResultRecord(**{**row._mapping, "path": Path(row.path)})


def _job(row: Row[Any]) -> JobRecord:
    values = dict(row._mapping)
    error = values.pop("error")
    return JobRecord(
        **{
            **values,
            "state": JobState(row.state),
            "destinations": tuple(json.loads(row.destinations)),
            "seconds": json.loads(row.seconds) if row.seconds else {},
            "failure": Failure.from_json(error),
        }
    )

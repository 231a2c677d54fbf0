"""The book of studies and received instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, union, update

from wetread.audit import events as audit
from wetread.errors import LedgerError
from wetread.ledger.book import Book
from wetread.ledger.database import insert_once, one_at_a_time
from wetread.ledger.records import (
    Arrival,
    ArrivingStudy,
    EventRecord,
    Failure,
    NewJob,
    SeriesArrival,
    StudyRecord,
    StudyState,
)
from wetread.ledger.tables import events, instances, jobs, removed_instances, studies
from wetread.study import Completion, ReceivedInstance

# Run once an instance, so they are built once: building costs more than SQLite takes to answer.
_NEWEST = (
    select(studies.c.generation, studies.c.state)
    .where(studies.c.study_instance_uid == bindparam("study"))
    .order_by(studies.c.generation.desc())
    .limit(1)
)
_KNOWN = select(instances.c.id).where(
    instances.c.study_instance_uid == bindparam("study"),
    instances.c.sop_instance_uid == bindparam("instance"),
    instances.c.sha256 == bindparam("bytes"),
)
_TOUCH = (
    update(studies)
    .where(
        studies.c.study_instance_uid == bindparam("study"),
        studies.c.generation == bindparam("number"),
    )
    .values(last_received_at=bindparam("at"))
)
_ADD = insert(instances)


class Studies(Book):
    """Studies by generation, and the instances of each."""

    def record_instance(
        self, instance: ReceivedInstance, *, sha256: str, size_bytes: int
    ) -> Arrival:
        """Note that an instance lies in the spool; only then may its sender be told "success".

        An instance whose study still arrives joins it. One that comes later starts the next
        generation. The same bytes again change nothing but the time of the last arrival.
        """
        with self._transaction() as connection:
            one_at_a_time(connection, instance.study_instance_uid)
            this = {"study": instance.study_instance_uid}
            newest = connection.execute(_NEWEST, this).first()
            known = {**this, "instance": instance.sop_instance_uid, "bytes": sha256}
            duplicate = connection.execute(_KNOWN, known).first() is not None
            generation = newest.generation if newest else 1
            if newest and newest.state != StudyState.ARRIVING and not duplicate:
                generation += 1
                newest = None
            at = instance.received_at.timestamp()
            if newest is None:
                self._open_generation(connection, instance, generation, at)
            else:
                connection.execute(_TOUCH, {**this, "number": generation, "at": at})
            if not duplicate:
                values = _row_of(instance, generation, at)
                connection.execute(_ADD, {**values, "sha256": sha256, "size_bytes": size_bytes})
            return Arrival(generation, duplicate)

    def _open_generation(
        self, connection: Connection, instance: ReceivedInstance, generation: int, at: float
    ) -> None:
        insert_once(
            connection,
            studies,
            {
                "study_instance_uid": instance.study_instance_uid,
                "generation": generation,
                "state": StudyState.ARRIVING,
                "calling_ae_title": instance.calling_ae_title,
                "first_received_at": at,
                "last_received_at": at,
                "complete_requested": False,
            },
        )
        event = f"first instance of generation {generation} from {instance.calling_ae_title}"
        self._note(connection, instance.study_instance_uid, "receive", event)
        begun = audit.receiving(instance.study_instance_uid, instance.calling_ae_title)
        self._audit(connection, begun)

    def arriving(self) -> tuple[ArrivingStudy, ...]:
        """Every study that still arrives, for assembly to judge."""
        with self._reading() as connection:
            query = select(studies).where(studies.c.state == StudyState.ARRIVING)
            rows = connection.execute(query.order_by(studies.c.first_received_at)).all()
            return tuple(_arriving(connection, _study(row)) for row in rows)

    def with_state(self, state: StudyState) -> tuple[StudyRecord, ...]:
        """The study generations in that state, oldest first."""
        query = select(studies).where(studies.c.state == state)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(studies.c.first_received_at)).all()
        return tuple(_study(row) for row in rows)

    def mark_complete(self, study: str, generation: int, completion: Completion) -> bool:
        """End the wait for a study. Returns False if it had ended already."""
        values = {
            "state": StudyState.COMPLETE,
            "completed_at": completion.decided_at.timestamp(),
            "completion_reason": completion.reason,
            "waited_seconds": completion.waited_seconds,
        }
        still = (*_is(study, generation), studies.c.state == StudyState.ARRIVING)
        with self._transaction() as connection:
            # An instance that is being recorded belongs to this generation, and must be seen.
            one_at_a_time(connection, study)
            changed = connection.execute(update(studies).where(*still).values(**values)).rowcount
            if changed:
                self._note(connection, study, "assemble", f"complete: {completion.reason}")
                self._audit(connection, _received(connection, study, generation))
            return changed == 1

    def request_complete(self, study: str) -> None:
        """Ask assembly to end the wait now. Raises LedgerError if nothing of it is arriving."""
        still = (
            studies.c.study_instance_uid == study,
            studies.c.state == StudyState.ARRIVING,
        )
        with self._transaction() as connection:
            statement = update(studies).where(*still).values(complete_requested=True)
            if not connection.execute(statement).rowcount:
                raise LedgerError(
                    f"study {study} is not waiting for instances",
                    hint="`wetread studies list` shows the studies and their states",
                )
            self._audit(connection, audit.asked("wait no longer", "study", study, study))

    def instances_of(self, study: str, generation: int) -> tuple[ReceivedInstance, ...]:
        """Every instance up to that generation; of several with one SOP Instance UID the last."""
        query = select(instances).where(
            instances.c.study_instance_uid == study, instances.c.generation <= generation
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(instances.c.id)).all()
        return tuple({row.sop_instance_uid: _instance(row) for row in rows}.values())

    def instances_by_series(self, study: str) -> dict[str, int]:
        """How many instances of each series have ever come, those removed since included."""
        every = union(
            *(
                select(each.c.series_instance_uid, each.c.sop_instance_uid).where(
                    each.c.study_instance_uid == study
                )
                for each in (instances, removed_instances)
            )
        ).subquery()
        query = select(every.c.series_instance_uid, func.count()).group_by(
            every.c.series_instance_uid
        )
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def record_decision(
        self, study: str, generation: int, decision: Mapping[str, Any], new_jobs: Sequence[NewJob]
    ) -> None:
        """Keep a routing decision and queue its jobs, both or neither.

        A job that is there already (the same model on the same instances) is left as it is.
        """
        with self._deciding() as connection:
            values = {"state": StudyState.ROUTED, "decision": json.dumps(decision)}
            connection.execute(update(studies).where(*_is(study, generation)).values(**values))
            self._queue(connection, study, generation, new_jobs)
            if not new_jobs:
                self._note(connection, study, "route", "no rule asks for a model")

    def add_jobs(self, study: str, generation: int, new_jobs: Sequence[NewJob]) -> None:
        """Queue jobs beside those of the routing decision; one that is there is left as it is."""
        with self._deciding() as connection:
            self._queue(connection, study, generation, new_jobs)

    def _queue(
        self, connection: Connection, study: str, generation: int, new_jobs: Sequence[NewJob]
    ) -> None:
        for job in new_jobs:
            row = _job_row(job, study, generation, self._now())
            if insert_once(connection, jobs, row):
                event = f"rule {job.rule!r}: {job.model} on series {job.series_instance_uid}"
                self._note(connection, study, "route", event, job.job_id)
        self._audit(connection, audit.routed(study, [job.model for job in new_jobs]))

    def fail(self, study: str, generation: int, failure: Failure) -> None:
        """Note that a study cannot be routed."""
        values = {"state": StudyState.FAILED, "error": failure.to_json()}
        with self._deciding() as connection:
            connection.execute(update(studies).where(*_is(study, generation)).values(**values))
            self._note(connection, study, "route", f"failed: {failure.message}")
            self._audit(connection, audit.routed(study, [], failure.message))

    def get(self, study: str, generation: int | None = None) -> StudyRecord:
        """One study, at its newest generation unless another is named.

        Raises LedgerError if there is none.
        """
        query = select(studies).where(studies.c.study_instance_uid == study)
        if generation is not None:
            query = query.where(studies.c.generation == generation)
        with self._reading() as connection:
            row = connection.execute(query.order_by(studies.c.generation.desc())).first()
        if row is None:
            raise LedgerError(
                f"no study {study} in the ledger", hint="`wetread studies list` shows them"
            )
        return _study(row)

    def newest(self, limit: int) -> tuple[StudyRecord, ...]:
        """The study generations that came last, newest first."""
        query = select(studies).order_by(studies.c.first_received_at.desc()).limit(limit)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return tuple(_study(row) for row in rows)

    def history(self, study: str) -> tuple[EventRecord, ...]:
        """What happened to a study, in order."""
        query = select(events).where(events.c.study_instance_uid == study).order_by(events.c.id)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            EventRecord(row.at, row.study_instance_uid, row.job_id, row.stage, row.event)
            for row in rows
        )


def _is(study: str, generation: int) -> tuple[Any, Any]:
    return studies.c.study_instance_uid == study, studies.c.generation == generation


def _received(connection: Connection, study: str, generation: int) -> audit.Message:
    columns = (instances.c.calling_ae_title, instances.c.sop_class_uid)
    these = (instances.c.study_instance_uid == study, instances.c.generation == generation)
    query = select(*columns, func.count()).where(*these).group_by(*columns).order_by(*columns)
    counts: dict[str, int] = {}
    callers: dict[str, None] = {}
    for caller, sop_class_uid, count in connection.execute(query):
        callers[caller] = None
        counts[sop_class_uid] = counts.get(sop_class_uid, 0) + count
    return audit.received(study, list(callers), counts)


def _arriving(connection: Connection, record: StudyRecord) -> ArrivingStudy:
    grouped = (
        select(
            instances.c.series_instance_uid,
            func.max(instances.c.received_at),
            func.count(),
        )
        .where(
            instances.c.study_instance_uid == record.study_instance_uid,
            instances.c.generation == record.generation,
        )
        .group_by(instances.c.series_instance_uid)
    )
    callers = (
        select(instances.c.calling_ae_title)
        .where(
            instances.c.study_instance_uid == record.study_instance_uid,
            instances.c.generation == record.generation,
        )
        .distinct()
    )
    series = tuple(SeriesArrival(*row) for row in connection.execute(grouped))
    return ArrivingStudy(record, frozenset(connection.execute(callers).scalars()), series)


def _row_of(instance: ReceivedInstance, generation: int, at: float) -> dict[str, Any]:
    return {
        "study_instance_uid": instance.study_instance_uid,
        "generation": generation,
        "series_instance_uid": instance.series_instance_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "sop_class_uid": instance.sop_class_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "calling_ae_title": instance.calling_ae_title,
        "called_ae_title": instance.called_ae_title,
        "received_at": at,
        "path": str(instance.path),
    }


def _instance(row: Row[Any]) -> ReceivedInstance:
    return ReceivedInstance(
        path=Path(row.path),
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        calling_ae_title=row.calling_ae_title,
        called_ae_title=row.called_ae_title,
        received_at=datetime.fromtimestamp(row.received_at, UTC),
    )


def _study(row: Row[Any]) -> StudyRecord:
    return StudyRecord(
        study_instance_uid=row.study_instance_uid,
        generation=row.generation,
        state=StudyState(row.state),
        calling_ae_title=row.calling_ae_title,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        complete_requested=row.complete_requested,
        completed_at=row.completed_at,
        completion_reason=row.completion_reason,
        waited_seconds=row.waited_seconds,
        decision=json.loads(row.decision) if row.decision else None,
        failure=Failure.from_json(row.error),
    )


def _job_row(job: NewJob, study: str, generation: int, now: float) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "study_instance_uid": study,
        "generation": generation,
        "series_instance_uid": job.series_instance_uid,
        "stack": job.stack,
        "rule": job.rule,
        "model": job.model,
        "destinations": json.dumps(job.destinations),
        "priority": job.priority,
        "attempt": 1,
        "attempts_since_retry": 0,
        "state": "queued",
        "stage": "",
        "progress": 0.0,
        "cancel_requested": False,
        "created_at": now,
    }

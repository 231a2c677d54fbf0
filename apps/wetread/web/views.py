"""What pages and the API show: facts of the ledger and the settings, without paths of this disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from wetread.ledger import (
    DeliveryRecord,
    DeliveryState,
    EventRecord,
    Failure,
    JobRecord,
    JobState,
    ResultRecord,
    StudyRecord,
    StudyState,
)
from wetread.ledger.overview import Progress


@dataclass(frozen=True, slots=True)
class Fault:
    """An error: its class, the fact, and what to do."""

    error: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One generation of a study. `why` is how completion was decided, `progress` its state seen to
    the end: with its jobs and deliveries; `outcomes` what the models found."""

    study_instance_uid: str
    generation: int
    state: str
    calling_ae_title: str
    first_received_at: datetime
    last_received_at: datetime
    completed_at: datetime | None
    why: str
    progress: str
    outcomes: tuple[str, ...]
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class ArrivingRow:
    """A study whose images still come."""

    study_instance_uid: str
    generation: int
    calling_ae_titles: tuple[str, ...]
    series: int
    images: int
    first_received_at: datetime
    last_received_at: datetime


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job. `progress` is from 0 to 1."""

    job_id: str
    study_instance_uid: str
    generation: int
    series_instance_uid: str
    stack: str
    rule: str
    model: str
    destinations: tuple[str, ...]
    state: str
    stage: str
    progress: float
    attempt: int
    cancel_requested: bool
    next_try_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str
    seconds: dict[str, float]
    fault: Fault | None

    @property
    def total_seconds(self) -> float:
        """Of all stages."""
        return sum(self.seconds.values())

    @property
    def may_cancel(self) -> bool:
        """Whether there is something to stop."""
        return self.state in ("queued", "running") and not self.cancel_requested

    @property
    def may_retry(self) -> bool:
        """Whether it has ended, or was put off."""
        return self.state not in ("queued", "running") or self.next_try_at is not None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One object that a job wrote."""

    sop_instance_uid: str
    series_instance_uid: str
    kind: str
    attempt: int
    created_at: datetime
    superseded: bool


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One object on its way to one destination."""

    delivery_id: str
    job_id: str
    sop_instance_uid: str
    kind: str
    destination: str
    state: str
    attempt: int
    next_try_at: datetime | None
    created_at: datetime
    delivered_at: datetime | None
    answer: str
    fault: Fault | None

    @property
    def may_cancel(self) -> bool:
        """Whether it waits or is dead."""
        return self.state in ("pending", "dead")


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of a study's history."""

    at: datetime
    stage: str
    event: str
    job_id: str


def moment(at: float | None) -> datetime | None:
    """Seconds since 1970 as a moment."""
    return None if at is None else _at(at)


def _at(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def fault(failure: Failure | None) -> Fault | None:
    """Of the ledger."""
    return None if failure is None else Fault(failure.error, failure.message, failure.hint)


def study_row(record: StudyRecord, progress: Progress | None = None) -> StudyRow:
    """Of the ledger."""
    return StudyRow(
        study_instance_uid=record.study_instance_uid,
        generation=record.generation,
        state=record.state,
        calling_ae_title=record.calling_ae_title,
        first_received_at=_at(record.first_received_at),
        last_received_at=_at(record.last_received_at),
        completed_at=moment(record.completed_at),
        why=record.completion_reason or "",
        progress=_seen_to_the_end(record, progress or Progress()),
        outcomes=progress.outcomes if progress else (),
        fault=fault(record.failure),
    )


def _seen_to_the_end(record: StudyRecord, progress: Progress) -> str:
    if record.state != StudyState.ROUTED:
        return str(record.state)
    jobs, sent = progress.jobs, progress.deliveries
    # The first that holds, the worst first.
    states = (
        (not jobs, "no model"),
        (jobs.get(JobState.FAILED), "failed"),
        (sent.get(DeliveryState.DEAD), "dead letter"),
        (jobs.get(JobState.QUEUED) or jobs.get(JobState.RUNNING), "reading"),
        (sent.get(DeliveryState.PENDING), "delivering"),
        (sent.get(DeliveryState.DELIVERED), "delivered"),
        (jobs.get(JobState.DONE), "read"),
    )
    return next((word for holds, word in states if holds), "cancelled")


def job_row(record: JobRecord) -> JobRow:
    """Of the ledger."""
    return JobRow(
        job_id=record.job_id,
        study_instance_uid=record.study_instance_uid,
        generation=record.generation,
        series_instance_uid=record.series_instance_uid,
        stack=record.stack,
        rule=record.rule,
        model=record.model,
        destinations=record.destinations,
        state=record.state,
        stage=record.stage,
        progress=record.progress,
        attempt=record.attempt,
        cancel_requested=record.cancel_requested,
        next_try_at=moment(record.next_try_at),
        created_at=_at(record.created_at),
        started_at=moment(record.started_at),
        finished_at=moment(record.finished_at),
        outcome=record.outcome or "",
        seconds=dict(record.seconds),
        fault=fault(record.failure),
    )


def result_row(record: ResultRecord) -> ResultRow:
    """Of the ledger."""
    return ResultRow(
        sop_instance_uid=record.sop_instance_uid,
        series_instance_uid=record.series_instance_uid,
        kind=record.kind,
        attempt=record.attempt,
        created_at=_at(record.created_at),
        superseded=record.superseded,
    )


def delivery_row(record: DeliveryRecord) -> DeliveryRow:
    """Of the ledger."""
    return DeliveryRow(
        delivery_id=record.delivery_id,
        job_id=record.job_id,
        sop_instance_uid=record.sop_instance_uid,
        kind=record.kind,
        destination=record.destination,
        state=record.state,
        attempt=record.attempt,
        next_try_at=moment(record.next_try_at),
        created_at=_at(record.created_at),
        delivered_at=moment(record.delivered_at),
        answer=record.answer or "",
        fault=fault(record.failure),
    )


def event_row(record: EventRecord) -> EventRow:
    """Of the ledger."""
    return EventRow(_at(record.at), record.stage, record.event, record.job_id or "")

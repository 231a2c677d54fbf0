"""What the ledger says of one generation of a study, as the spans of one trace.

Nothing of a patient is in them: names from the settings, the sender's AE title, states, counts,
UIDs, and of an error its class alone, since its text may quote what was received.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wetread.ledger import (
    DeliveryRecord,
    DeliveryState,
    EventRecord,
    Failure,
    JobRecord,
    JobState,
    Ledger,
    StudyRecord,
)

Attributes = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work; `start` and `end` are seconds since 1970, `error` a class of error or "".

    Ids come from what the span is of, so one that is exported again is the same span.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    start: float
    end: float
    attributes: Attributes
    error: str = ""

    def child(
        self,
        name: str,
        start: float,
        end: float,
        *,
        key: str = "",
        attributes: Attributes | None = None,
        error: str = "",
    ) -> Span:
        """A piece of this one; `key` tells it from others of that name."""
        span_id = _digest(self.span_id.hex(), name, key)[:8]
        # Where machines write to one ledger their clocks may differ a little.
        end = max(start, end)
        of = (self.trace_id, span_id, self.span_id)
        return Span(*of, name, start, end, attributes or {}, error)


@dataclass(frozen=True, slots=True)
class Story:
    """One generation of a study with its jobs, their deliveries, and the study's history."""

    study: StudyRecord
    instances: int
    jobs: tuple[JobRecord, ...]
    deliveries: tuple[DeliveryRecord, ...]
    history: tuple[EventRecord, ...] = field(repr=False)

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        open_jobs = (JobState.QUEUED, JobState.RUNNING)
        return all(each.state not in open_jobs for each in self.jobs) and all(
            each.state != DeliveryState.PENDING for each in self.deliveries
        )


def story_of(ledger: Ledger, study: str, generation: int) -> Story:
    """What the ledger says. Raises LedgerError if it has no such generation."""
    every = ledger.jobs.list(study=study)
    jobs = [each for each in every if each.generation == generation]
    sent = [each for job in jobs for each in ledger.deliveries.list(job_id=job.job_id)]
    return Story(
        ledger.studies.get(study, generation),
        ledger.overview.images(study).get(generation, 0),
        tuple(sorted(jobs, key=lambda each: (each.created_at, each.job_id))),
        tuple(sorted(sent, key=lambda each: (each.created_at, each.delivery_id))),
        ledger.studies.history(study),
    )


def spans_of(story: Story, device_uid: str) -> tuple[Span, ...]:
    """The trace, its root first; `device_uid` is the installation's, another one's are others."""
    study = story.study
    parts = (device_uid, study.study_instance_uid, str(study.generation))
    attributes: dict[str, str | int] = {
        "wetread.study_instance_uid": study.study_instance_uid,
        "wetread.generation": study.generation,
        "wetread.state": study.state.value,
        "wetread.calling_ae_title": study.calling_ae_title,
        "wetread.instances": story.instances,
        "wetread.jobs": len(story.jobs),
        "wetread.deliveries": len(story.deliveries),
    }
    ids = (_digest("trace", *parts)[:16], _digest("study", *parts)[:8], b"")
    start = study.first_received_at
    draft = Span(*ids, "study", start, start, attributes)
    below = [*_arrival(draft, story)]
    for job in story.jobs:
        below += _job(draft, job, story)
    end = max(each.end for each in below)
    error = next((each.error for each in below if each.error), "")
    return (Span(*ids, "study", start, end, attributes, error), *below)


def _arrival(root: Span, story: Story) -> Iterator[Span]:
    study = story.study
    last = study.last_received_at
    completed = study.completed_at or last
    decided = (e.at for e in story.history if e.stage == "route" and e.at >= completed)
    yield root.child("receive", study.first_received_at, last)
    yield root.child("assemble", last, completed)
    yield root.child("route", completed, next(decided, completed), error=_class_of(study.failure))


def _job(root: Span, job: JobRecord, story: Story) -> Iterator[Span]:
    """A job, its wait and its reading by step, and its deliveries."""
    failed = job.state == JobState.FAILED
    error = _class_of(job.failure) if failed else ""
    ended = job.finished_at or job.created_at
    sent = [each for each in story.deliveries if each.job_id == job.job_id]
    attributes: dict[str, str | int] = {
        "wetread.job_id": job.job_id,
        "wetread.series_instance_uid": job.series_instance_uid,
        "wetread.rule": job.rule,
        "wetread.model": job.model,
        "wetread.state": job.state.value,
        "wetread.attempts": job.attempt,
    }
    if failed:
        attributes["wetread.stage"] = job.stage
    # A retry asks for the job anew; what an attempt before has sent is older.
    start = min([job.created_at, *(each.created_at for each in sent)])
    end = max([ended, *(_end_of(each, story) for each in sent)])
    span = root.child("job", start, end, key=job.job_id, attributes=attributes, error=error)
    yield span
    yield span.child("queue", job.created_at, job.started_at or ended)
    if job.started_at is not None:
        read = span.child("read", job.started_at, ended, error=error)
        yield read
        yield from _steps(read, job)
    for each in sent:
        yield _delivery(span, each, story)


def _steps(read: Span, job: JobRecord) -> Iterator[Span]:
    """One after the other from the start: how long each took is known, not when it began."""
    at = read.start
    # What a job that failed has here is of an attempt before.
    for name, seconds in job.seconds.items() if job.state == JobState.DONE else ():
        step = read.child(name, at, at + seconds)
        yield step
        at = step.end


def _delivery(job: Span, delivery: DeliveryRecord, story: Story) -> Span:
    return job.child(
        "deliver",
        delivery.created_at,
        _end_of(delivery, story),
        key=delivery.delivery_id,
        attributes={
            "wetread.delivery_id": delivery.delivery_id,
            "wetread.destination": delivery.destination,
            "wetread.kind": delivery.kind,
            "wetread.state": delivery.state.value,
            "wetread.attempts": delivery.attempt,
        },
        error=_class_of(delivery.failure) if delivery.state == DeliveryState.DEAD else "",
    )


def _end_of(delivery: DeliveryRecord, story: Story) -> float:
    """When it arrived; of one that did not, the last that the history says of it."""
    if delivery.delivered_at is not None:
        return delivery.delivered_at
    words = f"{delivery.kind} to {delivery.destination} "
    tries = (
        each.at
        for each in story.history
        if each.job_id == delivery.job_id and each.event.startswith(words)
    )
    return max(tries, default=delivery.created_at)


def _class_of(failure: Failure | None) -> str:
    return "" if failure is None else failure.error


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()

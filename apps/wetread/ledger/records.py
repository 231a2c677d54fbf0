"""Rows of the ledger as frozen facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wetread.errors import WetreadError


class StudyState(StrEnum):
    """How far a study has come, at one generation."""

    ARRIVING = "arriving"
    COMPLETE = "complete"
    ROUTED = "routed"
    FAILED = "failed"


class JobState(StrEnum):
    """How far one job has come."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """How far the delivery of one object to one destination has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class CommitmentState(StrEnum):
    """Whether a destination has said that it keeps an object."""

    WANTED = "wanted"
    ASKED = "asked"
    COMMITTED = "committed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the ledger keeps it: class, fact, and what to do."""

    error: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure that `error` stands for."""
        if isinstance(error, WetreadError):
            return cls(type(error).__name__, error.message, error.hint)
        name = type(error).__name__
        return cls(name, f"unexpected {name}: {error}", "the log has its traceback; report it")

    @classmethod
    def from_json(cls, text: str | None) -> Failure | None:
        """The failure in `text`, or None for none."""
        return cls(**json.loads(text)) if text else None

    def to_json(self) -> str:
        """The failure as JSON text."""
        return json.dumps({"error": self.error, "message": self.message, "hint": self.hint})


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One generation of a study."""

    study_instance_uid: str
    generation: int
    state: StudyState
    calling_ae_title: str
    first_received_at: float
    last_received_at: float
    complete_requested: bool
    completed_at: float | None
    completion_reason: str | None
    waited_seconds: float | None
    decision: Mapping[str, Any] | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the ledger did with a received instance."""

    generation: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class SeriesArrival:
    """When the last instance of a series came, and how many there are in this generation."""

    series_instance_uid: str
    last_received_at: float
    instances: int


@dataclass(frozen=True, slots=True)
class ArrivingStudy:
    """What assembly has to know of a study whose instances still come."""

    record: StudyRecord
    calling_ae_titles: frozenset[str]
    series: tuple[SeriesArrival, ...]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that a routing decision asks for."""

    job_id: str
    series_instance_uid: str
    rule: str
    model: str
    destinations: tuple[str, ...]
    priority: int
    stack: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job: one decision × one model. `created_at` is when it was last asked for.

    `stack` names the one that it reads, where a series holds several.

    `attempt` counts every run, `attempts_since_retry` those since a person last asked for one. A
    queued job that was put off waits until `next_try_at`; its `failure` says why.
    """

    job_id: str
    study_instance_uid: str
    generation: int
    series_instance_uid: str
    stack: str
    rule: str
    model: str
    destinations: tuple[str, ...]
    priority: int
    attempt: int
    attempts_since_retry: int
    next_try_at: float | None
    state: JobState
    stage: str
    progress: float
    cancel_requested: bool
    created_at: float
    started_at: float | None
    finished_at: float | None
    outcome: str | None
    seconds: Mapping[str, float]
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """One object that a job wrote. `superseded` once a newer one replaces it."""

    sop_instance_uid: str
    job_id: str
    attempt: int
    generation: int
    kind: str
    sop_class_uid: str
    study_instance_uid: str
    source_series_instance_uid: str
    series_instance_uid: str
    model: str
    path: Path
    sha256: str
    created_at: float
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One object × one destination. `attempt` counts every try, `attempts_since_retry` those
    since a person last asked for a retry."""

    delivery_id: str
    sop_instance_uid: str
    job_id: str
    destination: str
    kind: str
    path: Path
    state: DeliveryState
    attempt: int
    attempts_since_retry: int
    next_try_at: float | None
    created_at: float
    delivered_at: float | None
    answer: str | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One line of a study's history."""

    at: float
    study_instance_uid: str
    job_id: str | None
    stage: str
    event: str

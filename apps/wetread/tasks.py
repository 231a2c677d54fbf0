"""What is to be done, as the ledger has it: each task belongs to one of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wetread.ledger import DeliveryRecord, JobRecord, StudyRecord


class Kind(StrEnum):
    """What a task is about."""

    STUDY = "study"
    JOB = "job"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do once: route a study, run a job or try a delivery.

    `number` is the generation, the attempt or the try. A lower `priority` goes first; `lane` is the
    destination of a delivery, so that one that is slow holds up no other.
    """

    kind: Kind
    subject: str
    number: int
    priority: int = 100
    lane: str = ""

    @property
    def key(self) -> str:
        """What makes the task this one and no other."""
        return f"{self.kind}:{self.subject}:{self.number}"


def study_task(record: StudyRecord) -> Task:
    """Route a study."""
    return Task(Kind.STUDY, record.study_instance_uid, record.generation)


def job_task(record: JobRecord) -> Task:
    """Read a series with a model."""
    return Task(Kind.JOB, record.job_id, record.attempt, priority=record.priority)


def delivery_task(record: DeliveryRecord) -> Task:
    """Try a delivery."""
    return Task(Kind.DELIVERY, record.delivery_id, record.attempt, lane=record.destination)

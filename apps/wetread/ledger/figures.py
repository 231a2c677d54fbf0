"""What a program that watches asks of all books, in few and cheap questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, Select, func, or_, select

from wetread.ledger.book import Book
from wetread.ledger.records import CommitmentState, DeliveryState, JobState, StudyState
from wetread.ledger.tables import commitment_requests, commitments, deliveries, jobs, studies


@dataclass(frozen=True, slots=True)
class Queue:
    """How much is to be done, and since when (seconds since 1970) the oldest could be done."""

    tasks: int
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one destination is to get: how much, how much of it has failed, since when."""

    waiting: int
    failing: int
    oldest_at: float


class Figures(Book):
    """Read only."""

    def studies_arriving(self) -> int:
        """Studies whose instances still arrive."""
        query = select(func.count()).where(studies.c.state == StudyState.ARRIVING)
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def queues(self) -> Mapping[str, Queue]:
        """By what there is to do: route a "study", run a "job", try a "delivery".

        What is put off counts as a task, and as one that could run only when its time has come.
        """
        now = self._now()
        job, delivery = jobs.c, deliveries.c
        job_since = func.coalesce(job.next_try_at, job.created_at)
        is_due = or_(job.next_try_at.is_(None), job.next_try_at <= now)
        oldest_job = func.min(job_since).filter(is_due)
        oldest_try = func.min(delivery.next_try_at).filter(delivery.next_try_at <= now)
        questions: dict[str, Executable] = {
            "study": select(func.count(), func.min(studies.c.completed_at)).where(
                studies.c.state == StudyState.COMPLETE
            ),
            "job": select(func.count(), oldest_job).where(job.state == JobState.QUEUED),
            "delivery": select(func.count(), oldest_try).where(
                delivery.state == DeliveryState.PENDING
            ),
        }
        with self._reading() as connection:
            return {
                kind: Queue(*connection.execute(question).one())
                for kind, question in questions.items()
            }

    def backlogs(self) -> Mapping[str, Backlog]:
        """By destination, where anything waits."""
        made = deliveries.c
        query = (
            select(
                made.destination, func.count(), func.count(made.error), func.min(made.created_at)
            )
            .where(made.state == DeliveryState.PENDING)
            .group_by(made.destination)
        )
        with self._reading() as connection:
            return {name: Backlog(*rest) for name, *rest in connection.execute(query).all()}

    def dead_letters(self) -> Mapping[str, int]:
        """By destination, where there are any."""
        return self._by_destination(
            select(deliveries.c.destination, func.count())
            .where(deliveries.c.state == DeliveryState.DEAD)
            .group_by(deliveries.c.destination)
        )

    def delivered_at(self) -> Mapping[str, float]:
        """When each destination took an object last. Looks at every delivery."""
        query = (
            select(deliveries.c.destination, func.max(deliveries.c.delivered_at))
            .where(deliveries.c.delivered_at.is_not(None))
            .group_by(deliveries.c.destination)
        )
        with self._reading() as connection:
            return {name: float(at) for name, at in connection.execute(query).all()}

    def commitments_open(self) -> Mapping[str, int]:
        """By destination: objects that it has not yet said to keep. Looks at every question."""
        return self._by_destination(
            select(commitments.c.destination, func.count())
            .where(commitments.c.state.in_((CommitmentState.WANTED, CommitmentState.ASKED)))
            .group_by(commitments.c.destination)
        )

    def requests_waiting(self) -> int:
        """Senders' requests to commit that are to be answered. Looks at every request."""
        query = select(func.count()).where(commitment_requests.c.next_try_at.is_not(None))
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def _by_destination(self, query: Select[Any]) -> Mapping[str, int]:
        with self._reading() as connection:
            return {name: int(count) for name, count in connection.execute(query).all()}

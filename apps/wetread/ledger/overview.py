"""Looking at all books at once: what a dashboard asks, and a script that watches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from wetread.ledger.book import Book
from wetread.ledger.deliveries import delivery_record
from wetread.ledger.records import DeliveryRecord, DeliveryState, JobState, StudyState
from wetread.ledger.tables import deliveries, events, instances, jobs, studies


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went to one destination: how many in each state, the last success, what failed since.

    `failing` is the delivery that failed last, if nothing was delivered after it was made.
    """

    counts: Mapping[DeliveryState, int] = field(default_factory=dict)
    delivered_at: float | None = None
    failing: DeliveryRecord | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """What became of a model's jobs that ended after some moment; `seconds` of those done."""

    done: int = 0
    failed: int = 0
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the jobs of one generation of a study are, and their deliveries."""

    jobs: Mapping[JobState, int] = field(default_factory=dict)
    deliveries: Mapping[DeliveryState, int] = field(default_factory=dict)
    outcomes: tuple[str, ...] = ()


class Overview(Book):
    """Read only."""

    def pulse(self) -> str:
        """A text that is another one as soon as a page would show something else."""
        moving = select(jobs.c.job_id, jobs.c.state, jobs.c.stage, jobs.c.progress).where(
            jobs.c.state == JobState.RUNNING
        )
        arriving = select(func.count(), func.max(studies.c.last_received_at)).where(
            studies.c.state == StudyState.ARRIVING
        )
        with self._reading() as connection:
            newest = connection.execute(select(func.max(events.c.id))).scalar()
            running = connection.execute(moving.order_by(jobs.c.job_id)).all()
            came = connection.execute(arriving).one()
        return repr((newest, [tuple(row) for row in running], tuple(came)))

    def traffic(self) -> Mapping[str, Traffic]:
        """By destination, as far as the ledger knows of it."""
        grouped = select(
            deliveries.c.destination,
            deliveries.c.state,
            func.count(),
            func.max(deliveries.c.delivered_at),
        ).group_by(deliveries.c.destination, deliveries.c.state)
        with self._reading() as connection:
            rows = connection.execute(grouped).all()
        found: dict[str, dict[DeliveryState, int]] = {}
        last: dict[str, float | None] = {}
        for name, state, count, delivered_at in rows:
            found.setdefault(name, {})[DeliveryState(state)] = count
            last[name] = delivered_at or last.get(name)
        return {
            name: Traffic(counts, last[name], self._failing(name, last[name]))
            for name, counts in found.items()
        }

    def _failing(self, destination: str, since: float | None) -> DeliveryRecord | None:
        query = (
            select(deliveries)
            .where(
                deliveries.c.destination == destination,
                deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.DEAD)),
                deliveries.c.error.is_not(None),
                deliveries.c.created_at >= (since or 0.0),
            )
            .order_by(deliveries.c.created_at.desc())
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else delivery_record(row)

    def runs(self, since: float) -> Mapping[str, Runs]:
        """By model, of the jobs that ended after that moment."""
        query = select(jobs.c.model, jobs.c.state, jobs.c.started_at, jobs.c.finished_at).where(
            jobs.c.finished_at >= since
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        by_model: dict[str, list[Any]] = {}
        for row in rows:
            by_model.setdefault(row.model, []).append(row)
        return {name: _runs(of_one) for name, of_one in by_model.items()}

    def progress(self, named: Collection[str]) -> Mapping[tuple[str, int], Progress]:
        """By study and generation, of the named studies, where there are jobs."""
        this = jobs.c.study_instance_uid.in_(named)
        key = (jobs.c.study_instance_uid, jobs.c.generation)
        read = select(*key, jobs.c.state, jobs.c.outcome).where(this).order_by(jobs.c.created_at)
        sent = (
            select(*key, deliveries.c.state, func.count())
            .join_from(jobs, deliveries, deliveries.c.job_id == jobs.c.job_id)
            .where(this)
            .group_by(*key, deliveries.c.state)
        )
        with self._reading() as connection:
            readings = connection.execute(read).all()
            sendings = connection.execute(sent).all()
        found: dict[tuple[str, int], tuple[Counter[JobState], list[str]]] = {}
        for study, generation, state, outcome in readings:
            counts, outcomes = found.setdefault((study, generation), (Counter(), []))
            counts[JobState(state)] += 1
            outcomes.extend([outcome] if outcome else [])
        counted: dict[tuple[str, int], dict[DeliveryState, int]] = {}
        for study, generation, state, count in sendings:
            counted.setdefault((study, generation), {})[DeliveryState(state)] = count
        return {
            each: Progress(counts, counted.get(each, {}), tuple(outcomes))
            for each, (counts, outcomes) in found.items()
        }

    def images(self, study: str) -> Mapping[int, int]:
        """How many instances came with each generation of a study."""
        query = (
            select(instances.c.generation, func.count())
            .where(instances.c.study_instance_uid == study)
            .group_by(instances.c.generation)
        )
        with self._reading() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}


def _runs(rows: list[Any]) -> Runs:
    done = [row for row in rows if row.state == JobState.DONE]
    seconds = tuple(row.finished_at - row.started_at for row in done if row.started_at)
    failed = sum(row.state == JobState.FAILED for row in rows)
    return Runs(len(done), failed, seconds)

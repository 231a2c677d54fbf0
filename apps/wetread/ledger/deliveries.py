"""The book of deliveries: one object × one destination."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from wetread.audit import events as audit
from wetread.audit.events import Outcome
from wetread.errors import LedgerError
from wetread.ledger.book import Book
from wetread.ledger.records import CommitmentState, DeliveryRecord, DeliveryState, Failure
from wetread.ledger.tables import commitments, deliveries, jobs

# The objects of one job arrive one after the other, and are asked about together.
GATHER_SECONDS = 1.0
# A destination that was away for a weekend leaves more than any list shows.
_ALL = 1_000_000


class Deliveries(Book):
    """Deliveries by id; a try that is not the newest changes nothing."""

    def get(self, delivery_id: str) -> DeliveryRecord:
        """One delivery. Raises LedgerError if there is none of that id."""
        query = select(deliveries).where(deliveries.c.delivery_id == delivery_id)
        with self._reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise LedgerError(
                f"no delivery {delivery_id} in the ledger", hint="`wetread deliveries list`"
            )
        return delivery_record(row)

    def list(
        self,
        *,
        state: DeliveryState | None = None,
        destination: str | None = None,
        job_id: str | None = None,
        limit: int = 1000,
    ) -> tuple[DeliveryRecord, ...]:
        """Deliveries, newest first, of one state, destination or job if named."""
        query = select(deliveries).order_by(deliveries.c.created_at.desc()).limit(limit)
        for column, value in (
            (deliveries.c.state, state),
            (deliveries.c.destination, destination),
            (deliveries.c.job_id, job_id),
        ):
            if value is not None:
                query = query.where(column == value)
        with self._reading() as connection:
            return tuple(delivery_record(row) for row in connection.execute(query).all())

    def due(self) -> tuple[DeliveryRecord, ...]:
        """Pending deliveries whose next try should run now."""
        query = select(deliveries).where(
            deliveries.c.state == DeliveryState.PENDING, deliveries.c.next_try_at <= self._now()
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(deliveries.c.next_try_at)).all()
        return tuple(delivery_record(row) for row in rows)

    def delivered(self, tried: DeliveryRecord, answer: str, *, commit: bool = False) -> None:
        """Note that the destination has the object, and what it answered.

        With `commit` it is to be asked whether it keeps it.
        """
        values = {
            "state": DeliveryState.DELIVERED,
            "delivered_at": self._now(),
            "answer": answer,
            "error": None,
            "next_try_at": None,
        }
        event = f"{tried.kind} delivered to {tried.destination}: {answer}"
        self._end_try(tried, values, event, commit=commit)

    def failed(
        self, tried: DeliveryRecord, failure: Failure, retry_in_seconds: float | None
    ) -> None:
        """Note that a try failed: try again after that many seconds, or never (a dead letter)."""
        if retry_in_seconds is None:
            values: dict[str, Any] = {"state": DeliveryState.DEAD, "next_try_at": None}
            then = "given up"
        else:
            values = {"next_try_at": self._now() + retry_in_seconds}
            then = f"again in {retry_in_seconds:.0f} s"
        values["error"] = failure.to_json()
        event = f"{tried.kind} to {tried.destination} failed, {then}: {failure.message}"
        self._end_try(tried, values, event)

    def _end_try(
        self, tried: DeliveryRecord, values: Mapping[str, Any], event: str, *, commit: bool = False
    ) -> None:
        this = (
            deliveries.c.delivery_id == tried.delivery_id,
            deliveries.c.attempt == tried.attempt,
            deliveries.c.state == DeliveryState.PENDING,
        )
        counted = {
            "attempt": tried.attempt + 1,
            "attempts_since_retry": tried.attempts_since_retry + 1,
        }
        statement = update(deliveries).where(*this).values(**values, **counted)
        with self._deciding() as connection:
            if connection.execute(statement).rowcount:
                study = study_of(connection, tried.job_id)
                self._note(connection, study, "deliver", event, tried.job_id)
                uid, to = tried.sop_instance_uid, tried.destination
                self._audit(connection, audit.delivered(study, to, uid, _outcome(values), event))
                if commit:
                    self._want_commitment(connection, tried)

    def _want_commitment(self, connection: Connection, delivered: DeliveryRecord) -> None:
        this = commitments.c.delivery_id == delivered.delivery_id
        connection.execute(delete(commitments).where(this))
        values = {
            "delivery_id": delivered.delivery_id,
            "destination": delivered.destination,
            "state": CommitmentState.WANTED,
            "requests": 0,
            "next_ask_at": self._now() + GATHER_SECONDS,
        }
        connection.execute(insert(commitments).values(**values))

    def retry(self, delivery_id: str) -> DeliveryRecord:
        """Send a dead letter again, with the same bytes. Raises LedgerError if it is not dead."""
        record = self.get(delivery_id)
        if record.state != DeliveryState.DEAD:
            raise LedgerError(
                f"delivery {delivery_id} is {record.state}", hint="only dead letters are retried"
            )
        values = {
            "state": DeliveryState.PENDING,
            "next_try_at": self._now(),
            "attempts_since_retry": 0,
        }
        dead = (
            deliveries.c.delivery_id == delivery_id,
            deliveries.c.state == DeliveryState.DEAD,
        )
        with self._transaction() as connection:
            connection.execute(update(deliveries).where(*dead).values(**values))
            event = f"{record.kind} to {record.destination}: retry asked for"
            study = study_of(connection, record.job_id)
            self._note(connection, study, "deliver", event, record.job_id)
            self._audit(connection, audit.asked("retry", "delivery", delivery_id, study))
        return self.get(delivery_id)

    def retry_dead_letters(self, destination: str | None = None) -> int:
        """Send all again, or those to one destination, and say how many. Raises as `retry`."""
        dead = self.list(state=DeliveryState.DEAD, destination=destination, limit=_ALL)
        for each in dead:
            self.retry(each.delivery_id)
        return len(dead)

    def cancel(self, delivery_id: str) -> DeliveryRecord:
        """Give up a delivery that waits or is dead; one that is under way may still arrive.

        Raises LedgerError if it has been delivered or cancelled.
        """
        record = self.get(delivery_id)
        this = (
            deliveries.c.delivery_id == delivery_id,
            deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.DEAD)),
        )
        values = {"state": DeliveryState.CANCELLED, "next_try_at": None}
        with self._transaction() as connection:
            if not connection.execute(update(deliveries).where(*this).values(**values)).rowcount:
                raise LedgerError(
                    f"delivery {delivery_id} is {record.state}", hint="nothing to cancel"
                )
            event = f"{record.kind} to {record.destination} cancelled"
            study = study_of(connection, record.job_id)
            self._note(connection, study, "deliver", event, record.job_id)
            self._audit(connection, audit.asked("cancel", "delivery", delivery_id, study))
        return self.get(delivery_id)


def _outcome(values: Mapping[str, Any]) -> Outcome:
    """Of a try: one that will be made again has no new state."""
    known = {DeliveryState.DELIVERED: Outcome.SUCCESS, DeliveryState.DEAD: Outcome.SERIOUS}
    return known.get(values.get("state", DeliveryState.PENDING), Outcome.MINOR)


def study_of(connection: Connection, job_id: str) -> str:
    """The study of a job."""
    query = select(jobs.c.study_instance_uid).where(jobs.c.job_id == job_id)
    return str(connection.execute(query).scalar_one())


def delivery_record(row: Row[Any]) -> DeliveryRecord:
    """A row of the table as a fact."""
    values = dict(row._mapping)
    error = values.pop("error")
    return DeliveryRecord(
        **{
            **values,
            "path": Path(row.path),
            "state": DeliveryState(row.state),
            "failure": Failure.from_json(error),
        }
    )

"""The book of deliveries: one object × one destination."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update

from wetread.errors import LedgerError
from wetread.ledger.book import Book
from wetread.ledger.records import DeliveryRecord, DeliveryState, Failure
from wetread.ledger.tables import deliveries, jobs


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
        return _delivery(row)

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
            return tuple(_delivery(row) for row in connection.execute(query).all())

    def due(self) -> tuple[DeliveryRecord, ...]:
        """Pending deliveries whose next try should run now."""
        query = select(deliveries).where(
            deliveries.c.state == DeliveryState.PENDING, deliveries.c.next_try_at <= self._now()
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(deliveries.c.next_try_at)).all()
        return tuple(_delivery(row) for row in rows)

    def delivered(self, tried: DeliveryRecord, answer: str) -> None:
        """Note that the destination has the object, and what it answered."""
        values = {
            "state": DeliveryState.DELIVERED,
            "delivered_at": self._now(),
            "answer": answer,
            "error": None,
            "next_try_at": None,
        }
        self._end_try(tried, values, f"{tried.kind} delivered to {tried.destination}: {answer}")

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

    def _end_try(self, tried: DeliveryRecord, values: Mapping[str, Any], event: str) -> None:
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
        with self._transaction() as connection:
            if connection.execute(statement).rowcount:
                self._note(connection, _study_of(connection, tried), "deliver", event, tried.job_id)

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
            self._note(connection, _study_of(connection, record), "deliver", event, record.job_id)
        return self.get(delivery_id)


def _study_of(connection: Connection, delivery: DeliveryRecord) -> str:
    query = select(jobs.c.study_instance_uid).where(jobs.c.job_id == delivery.job_id)
    return str(connection.execute(query).scalar_one())


def _delivery(row: Row[Any]) -> DeliveryRecord:
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

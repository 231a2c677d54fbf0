"""The book of storage commitment: what destinations keep safely, and what senders asked of us."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, literal, select, union_all, update

from wetread.ledger.book import Book
from wetread.ledger.database import insert_once, one_at_a_time
from wetread.ledger.deliveries import delivery_record, study_of
from wetread.ledger.records import CommitmentState, DeliveryRecord, DeliveryState, Failure
from wetread.ledger.tables import (
    commitment_requests,
    commitments,
    deliveries,
    instances,
    jobs,
    results,
)

MOST_IN_A_REQUEST = 500
# The report must not come before the answer to the request.
FIRST_ANSWER_SECONDS = 1.0
_MOST_IN_A_QUERY = 500
_OPEN = (CommitmentState.WANTED, CommitmentState.ASKED)
Uids = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """A transaction to begin: what a destination shall keep, as (SOP class, SOP instance), and how
    often it was asked about, this time included."""

    transaction_uid: str
    destination: str
    instances: tuple[Uids, ...]
    requests: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a sender asked us to commit to, as (SOP class, SOP instance)."""

    calling_ae_title: str
    transaction_uid: str
    instances: tuple[Uids, ...]
    tries: int


class Commitments(Book):
    """Questions to destinations, by transaction; and requests of senders."""

    def ask(self, destination: str, wait_seconds: float) -> Question | None:
        """Begin a transaction about everything that the destination is to be asked about now.

        What it does not answer is asked about again after that many seconds. None if there is
        nothing to ask.
        """
        due = (
            commitments.c.destination == destination,
            commitments.c.state.in_(_OPEN),
            commitments.c.next_ask_at <= self._now(),
            deliveries.c.delivery_id == commitments.c.delivery_id,
            deliveries.c.state == DeliveryState.DELIVERED,
            results.c.sop_instance_uid == deliveries.c.sop_instance_uid,
        )
        columns = (
            commitments.c.delivery_id,
            commitments.c.requests,
            results.c.sop_class_uid,
            results.c.sop_instance_uid,
        )
        query = select(*columns).where(*due).order_by(commitments.c.next_ask_at)
        with self._transaction() as connection:
            one_at_a_time(connection, f"commitment of {destination}")
            found = connection.execute(query.limit(MOST_IN_A_REQUEST)).all()
            if not found:
                return None
            # What was never answered is given up at last, and nothing else with it.
            rows = [row for row in found if row.requests == found[0].requests]
            transaction_uid = f"2.25.{uuid.uuid4().int}"
            values = {
                "transaction_uid": transaction_uid,
                "state": CommitmentState.ASKED,
                "requests": commitments.c.requests + 1,
                "next_ask_at": self._now() + wait_seconds,
            }
            these = commitments.c.delivery_id.in_([row.delivery_id for row in rows])
            connection.execute(update(commitments).where(these).values(**values))
            asked_about = tuple((row.sop_class_uid, row.sop_instance_uid) for row in rows)
            return Question(transaction_uid, destination, asked_about, rows[0].requests + 1)

    def ask_again(self, question: Question, seconds: float, failure: Failure) -> None:
        """Note that the destination could not be asked; it will be in so many seconds."""
        with self._transaction() as connection:
            these = commitments.c.transaction_uid == question.transaction_uid
            values = {"next_ask_at": self._now() + seconds}
            connection.execute(
                update(commitments).where(these, commitments.c.state.in_(_OPEN)).values(**values)
            )
            for record in _in_transaction(connection, question.transaction_uid):
                event = f"{record.kind} at {record.destination}: not asked: {failure.message}"
                self._note_of(connection, record, event)

    def forget_others(self, destinations: Collection[str]) -> None:
        """Ask only these destinations from now on, and wait for no other's answer."""
        others = (
            commitments.c.destination.not_in(list(destinations)),
            commitments.c.state.in_(_OPEN),
        )
        with self._transaction() as connection:
            connection.execute(delete(commitments).where(*others))

    def is_known(self, transaction_uid: str) -> bool:
        """Whether that transaction is the newest of anything."""
        with self._reading() as connection:
            return bool(_in_transaction(connection, transaction_uid, CommitmentState))

    def is_open(self, transaction_uid: str) -> bool:
        """Whether the transaction still waits for an answer to something."""
        with self._reading() as connection:
            return bool(_in_transaction(connection, transaction_uid))

    def open_deliveries(self, transaction_uid: str) -> Mapping[str, DeliveryRecord]:
        """The deliveries that wait for the answer, by SOP Instance UID."""
        with self._reading() as connection:
            found = _in_transaction(connection, transaction_uid)
        return {each.sop_instance_uid: each for each in found}

    def committed(self, record: DeliveryRecord) -> None:
        """Note that the destination keeps the object."""
        with self._transaction() as connection:
            if self._answer(connection, record, CommitmentState.COMMITTED):
                event = f"{record.kind} committed by {record.destination}"
                self._note_of(connection, record, event)

    def refused(
        self, record: DeliveryRecord, failure: Failure, retry_in_seconds: float | None
    ) -> None:
        """Note that it does not: send the object again after that many seconds, or never.

        One that a newer result has replaced is let go.
        """
        replaced = select(results.c.superseded).where(
            results.c.sop_instance_uid == record.sop_instance_uid
        )
        with self._transaction() as connection:
            if not self._answer(connection, record, CommitmentState.REFUSED):
                return
            values: dict[str, Any] = {"state": DeliveryState.DEAD, "next_try_at": None}
            then = "given up"
            if connection.execute(replaced).scalar_one():
                values["state"], then = DeliveryState.CANCELLED, "it was superseded"
            elif retry_in_seconds is not None:
                values = {
                    "state": DeliveryState.PENDING,
                    "next_try_at": self._now() + retry_in_seconds,
                }
                then = f"sent again in {retry_in_seconds:.0f} s"
            this = (
                deliveries.c.delivery_id == record.delivery_id,
                deliveries.c.state == DeliveryState.DELIVERED,
            )
            values["error"] = failure.to_json()
            connection.execute(update(deliveries).where(*this).values(**values))
            event = f"{record.kind} not committed, {then}: {failure.message}"
            self._note_of(connection, record, event)

    def _answer(
        self, connection: Connection, record: DeliveryRecord, state: CommitmentState
    ) -> bool:
        this = (
            commitments.c.delivery_id == record.delivery_id,
            commitments.c.state.in_(_OPEN),
        )
        values = {"state": state, "answered_at": self._now(), "next_ask_at": None}
        return connection.execute(update(commitments).where(*this).values(**values)).rowcount == 1

    def _note_of(self, connection: Connection, record: DeliveryRecord, event: str) -> None:
        study = study_of(connection, record.job_id)
        self._note(connection, study, "commit", event, record.job_id)

    # -- what senders ask ------------------------------------------------------------------

    def take_request(
        self, calling_ae_title: str, transaction_uid: str, asked_about: Sequence[Uids]
    ) -> None:
        """Keep a request of a sender until it has been told; the same one again is told again."""
        key = {"calling_ae_title": calling_ae_title, "transaction_uid": transaction_uid}
        first = self._now() + FIRST_ANSWER_SECONDS
        values = {"asked_at": self._now(), "next_try_at": first, "tries": 0}
        row = {**key, **values, "instances": json.dumps([list(each) for each in asked_about])}
        with self._transaction() as connection:
            if not insert_once(connection, commitment_requests, row):
                this = _request_is(calling_ae_title, transaction_uid)
                connection.execute(update(commitment_requests).where(*this).values(**row))

    def due_request(self, calling_ae_title: str, for_seconds: float) -> Request | None:
        """Take on the oldest request of that sender that should be answered now, if there is one.

        Nobody else is given it within that many seconds.
        """
        due = (
            commitment_requests.c.calling_ae_title == calling_ae_title,
            commitment_requests.c.next_try_at <= self._now(),
        )
        query = select(commitment_requests).where(*due).order_by(commitment_requests.c.asked_at)
        with self._transaction() as connection:
            one_at_a_time(connection, f"requests of {calling_ae_title}")
            row = connection.execute(query.limit(1)).first()
            if row is None:
                return None
            this = _request_is(calling_ae_title, row.transaction_uid)
            later = {"next_try_at": self._now() + for_seconds}
            connection.execute(update(commitment_requests).where(*this).values(**later))
            return _request(row)

    def told(self, request: Request, outcome: str) -> None:
        """Note that the sender was told, and what."""
        values = {"reported_at": self._now(), "outcome": outcome}
        self._end_report(request, values, None)

    def not_told(self, request: Request, why: str, retry_in_seconds: float | None) -> None:
        """Note that the sender could not be told: again in so many seconds, or never."""
        self._end_report(request, {"outcome": why}, retry_in_seconds)

    def _end_report(
        self, request: Request, values: Mapping[str, Any], retry_in_seconds: float | None
    ) -> None:
        next_try = None if retry_in_seconds is None else self._now() + retry_in_seconds
        this = _request_is(request.calling_ae_title, request.transaction_uid)
        counted = {**values, "next_try_at": next_try, "tries": request.tries + 1}
        with self._transaction() as connection:
            connection.execute(update(commitment_requests).where(*this).values(**counted))

    def kept(self, sop_instance_uids: Sequence[str]) -> tuple[tuple[Uids, Path | None], ...]:
        """Which of these instances we can vouch for: images with their file in the spool, and
        results that a destination has, with None."""
        found: list[tuple[Uids, Path | None]] = []
        with self._reading() as connection:
            for start in range(0, len(sop_instance_uids), _MOST_IN_A_QUERY):
                some = sop_instance_uids[start : start + _MOST_IN_A_QUERY]
                for row in connection.execute(_kept(some)):
                    path = Path(row.path) if row.path else None
                    found.append(((row.sop_class_uid, row.sop_instance_uid), path))
        return tuple(found)


def _kept(uids: Sequence[str]) -> Any:
    images = select(
        instances.c.sop_class_uid, instances.c.sop_instance_uid, instances.c.path
    ).where(instances.c.sop_instance_uid.in_(uids))
    objects = (
        select(results.c.sop_class_uid, results.c.sop_instance_uid, literal("").label("path"))
        .where(results.c.sop_instance_uid.in_(uids))
        .join(deliveries, deliveries.c.sop_instance_uid == results.c.sop_instance_uid)
        .where(deliveries.c.state == DeliveryState.DELIVERED)
    )
    return union_all(images, objects)


def _request_is(calling_ae_title: str, transaction_uid: str) -> tuple[Any, Any]:
    return (
        commitment_requests.c.calling_ae_title == calling_ae_title,
        commitment_requests.c.transaction_uid == transaction_uid,
    )


def _request(row: Row[Any]) -> Request:
    asked_about = tuple((uids[0], uids[1]) for uids in json.loads(row.instances))
    return Request(row.calling_ae_title, row.transaction_uid, asked_about, row.tries)


def _in_transaction(
    connection: Connection, transaction_uid: str, states: Any = _OPEN
) -> list[DeliveryRecord]:
    query = (
        select(deliveries)
        .join(commitments, commitments.c.delivery_id == deliveries.c.delivery_id)
        .join(jobs, jobs.c.job_id == deliveries.c.job_id)
        .where(
            commitments.c.transaction_uid == transaction_uid,
            commitments.c.state.in_(list(states)),
        )
    )
    return [delivery_record(row) for row in connection.execute(query)]

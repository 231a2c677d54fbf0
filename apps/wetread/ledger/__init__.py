"""What happened to every study, job and delivery, and why. The truth for received and delivered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from sqlalchemy import Engine, select

from wetread.config import Config
from wetread.ledger.commitments import Commitments, Question, Request
from wetread.ledger.copies import Copies
from wetread.ledger.database import insert_once, open_engine, unavailable_as_ledger_error
from wetread.ledger.deliveries import Deliveries
from wetread.ledger.jobs import Jobs
from wetread.ledger.records import (
    Arrival,
    ArrivingStudy,
    DeliveryRecord,
    DeliveryState,
    EventRecord,
    Failure,
    JobRecord,
    JobState,
    NewJob,
    ResultRecord,
    SeriesArrival,
    StudyRecord,
    StudyState,
)
from wetread.ledger.removals import FinishedStudy, Removal, Removals
from wetread.ledger.studies import Studies
from wetread.ledger.tables import properties

__all__ = [
    "Arrival",
    "ArrivingStudy",
    "DeliveryRecord",
    "DeliveryState",
    "EventRecord",
    "Failure",
    "FinishedStudy",
    "JobRecord",
    "JobState",
    "Ledger",
    "NewJob",
    "Question",
    "Removal",
    "Request",
    "ResultRecord",
    "SeriesArrival",
    "StudyRecord",
    "StudyState",
    "ledger_url",
]


def ledger_url(config: Config) -> str:
    """The ledger's database: as configured, else a SQLite file in the spool's folder."""
    return config.database.url or f"sqlite:///{config.spool.path / 'ledger.sqlite3'}"


class Ledger:
    """One database with four books: studies, jobs (with their results), deliveries, removals."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._engine: Engine = open_engine(url)
        self.studies = Studies(self._engine, clock)
        self.jobs = Jobs(self._engine, clock)
        self.deliveries = Deliveries(self._engine, clock)
        self.removals = Removals(self._engine, clock)
        self.commitments = Commitments(self._engine, clock)
        self.copies = Copies(self._engine, clock)

    def device_uid(self) -> str:
        """The UID of this installation, made once and kept."""
        with unavailable_as_ledger_error(), self._engine.begin() as connection:
            made = f"2.25.{uuid.uuid4().int}"
            insert_once(connection, properties, {"name": "device_uid", "value": made})
            query = select(properties.c.value).where(properties.c.name == "device_uid")
            return str(connection.execute(query).scalar_one())

    @property
    def engine(self) -> Engine:
        """The database, for books that other rooms keep in it."""
        return self._engine

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

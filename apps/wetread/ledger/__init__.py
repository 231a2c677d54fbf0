"""What happened to every study, job and delivery, and why. The truth for received and delivered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.engine import make_url

from wetread.config import Config
from wetread.files import secret_in
from wetread.ledger.chain import SOURCE
from wetread.ledger.commitments import Commitments, Question, Request
from wetread.ledger.copies import Copies
from wetread.ledger.database import insert_once, open_engine, unavailable_as_ledger_error
from wetread.ledger.deliveries import Deliveries
from wetread.ledger.figures import Figures
from wetread.ledger.jobs import Jobs
from wetread.ledger.overview import Overview
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
from wetread.ledger.traces import Traces
from wetread.ledger.trail import AuditRecord, Trail
from wetread.ledger.work_items import WorkItem, WorkItems, WorkItemState
from wetread.ledger.workers import Worker, Workers

__all__ = [
    "Arrival",
    "ArrivingStudy",
    "AuditRecord",
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
    "Trail",
    "WorkItem",
    "WorkItemState",
    "WorkItems",
    "Worker",
    "Workers",
    "ledger_url",
]


def ledger_url(config: Config) -> str:
    """The ledger's database: as configured, else a SQLite file in the spool's folder.

    Raises ConfigError if the file with its password cannot be read.
    """
    if not config.database.url:
        return f"sqlite:///{config.spool.path / 'ledger.sqlite3'}"
    file = config.database.password_file
    if file is None:
        return config.database.url
    password = secret_in(file, "database.password_file")
    url = make_url(config.database.url).set(password=password)
    return url.render_as_string(hide_password=False)


class Ledger:
    """One database with a book for each subject.

    Once this process has a lease (`workers.begin`), its decisions count only while it has it.
    """

    def __init__(
        self, url: str, clock: Callable[[], float] = time.time, *, reporter: str = "WETREAD"
    ) -> None:
        self._engine: Engine = open_engine(url).execution_options(**{SOURCE: reporter})
        self.workers = Workers(self._engine, clock)
        fence = self.workers.fence
        self.studies = Studies(self._engine, clock, fence)
        self.jobs = Jobs(self._engine, clock, fence)
        self.deliveries = Deliveries(self._engine, clock, fence)
        self.removals = Removals(self._engine, clock)
        self.commitments = Commitments(self._engine, clock)
        self.work_items = WorkItems(self._engine, clock)
        self.copies = Copies(self._engine, clock)
        self.overview = Overview(self._engine, clock)
        self.figures = Figures(self._engine, clock)
        self.traces = Traces(self._engine, clock)
        self.trail = Trail(self._engine, clock)

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

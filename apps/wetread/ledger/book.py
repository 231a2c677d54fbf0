"""What the three books share: one transaction a call, and the history of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, insert

from wetread.ledger.database import READING, unavailable_as_ledger_error
from wetread.ledger.tables import events


class Book:
    """A set of tables with its clock (seconds since 1970)."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{READING: True})
        self._now = clock

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with unavailable_as_ledger_error(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with unavailable_as_ledger_error(), self._reader.begin() as connection:
            yield connection

    def _note(
        self, connection: Connection, study: str, stage: str, event: str, job_id: str | None = None
    ) -> None:
        values = {"at": self._now(), "study_instance_uid": study, "job_id": job_id}
        connection.execute(insert(events).values(**values, stage=stage, event=event))

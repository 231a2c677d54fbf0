"""What the books share: one transaction a call, the fence, and the history of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, insert

from wetread import metrics
from wetread.audit.events import Message
from wetread.ledger.chain import append
from wetread.ledger.database import READING, unavailable_as_ledger_error
from wetread.ledger.tables import events

_AUDITED = "wetread_audited"
Fence = Callable[[Connection], None]
"""Called in a transaction; raises LeaseLostError if others do this process's work by now."""


def no_fence(_connection: Connection) -> None:
    """Nobody else can do this process's work."""


class Book:
    """A set of tables with its clock (seconds since 1970).

    `fence` stands before what only the process that does a piece of work may decide.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float], fence: Fence = no_fence) -> None:
        self._engine = engine
        self._fence = fence
        self._reader = engine.execution_options(**{READING: True})
        self._now = clock

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        timed = metrics.LEDGER_SECONDS.labels("write").time()
        with timed, unavailable_as_ledger_error(), self._engine.begin() as connection:
            # What a transaction that failed has left is not of this one.
            connection.info[_AUDITED] = []
            yield connection
            append(connection, self._now(), connection.info[_AUDITED])

    @contextmanager
    def _deciding(self) -> Iterator[Connection]:
        """A transaction behind the fence."""
        with self._transaction() as connection:
            self._fence(connection)
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        timed = metrics.LEDGER_SECONDS.labels("read").time()
        with timed, unavailable_as_ledger_error(), self._reader.begin() as connection:
            yield connection

    def _note(
        self, connection: Connection, study: str, stage: str, event: str, job_id: str | None = None
    ) -> None:
        values = {"at": self._now(), "study_instance_uid": study, "job_id": job_id}
        connection.execute(insert(events).values(**values, stage=stage, event=event))

    def _audit(self, connection: Connection, message: Message) -> None:
        """Add to the audit trail with this transaction, at its end."""
        connection.info[_AUDITED].append(message)

"""The book of workers: which processes are alive, so that no work is left lying or done twice.

A worker that has not renewed its lease in time is struck off by another one, and what it was at is
done by others. From that moment on the fence lets none of its decisions pass: it may only have been
paused, and come back.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from wetread.errors import LeaseLostError
from wetread.ledger.book import Book
from wetread.ledger.database import database_now, one_at_a_time
from wetread.ledger.tables import workers


@dataclass(frozen=True, slots=True)
class Worker:
    """One start of one process. `boot_id` is that of its machine's kernel; times are seconds since
    1970 by the database's clock. `opened_at` is when its doors were, if it has some."""

    executor_id: str
    name: str
    host: str
    boot_id: str
    process_id: int
    jobs: int
    has_doors: bool
    started_at: float = 0.0
    opened_at: float | None = None
    expires_at: float = 0.0
    open_callers: tuple[str, ...] = ()


class Workers(Book):
    """Workers by executor id. One process keeps at most one of them alive through this book."""

    _mine: str | None = None

    def begin(self, worker: Worker, lease_seconds: float) -> Worker | None:
        """Take a lease. Gives who has the name instead, if somebody else is alive under it.

        An earlier process of that name on this machine is dead: the caller has made sure of that.
        """
        with self._transaction() as connection:
            one_at_a_time(connection, "workers")
            now = database_now(connection, self._now())
            query = select(workers).where(workers.c.name == worker.name)
            for row in connection.execute(query).all():
                if row.boot_id != worker.boot_id and row.expires_at > now:
                    return _worker(row)
            connection.execute(delete(workers).where(workers.c.name == worker.name))
            values = {
                "executor_id": worker.executor_id,
                "name": worker.name,
                "host": worker.host,
                "boot_id": worker.boot_id,
                "process_id": worker.process_id,
                "jobs": worker.jobs,
                "has_doors": worker.has_doors,
                "started_at": now,
                "expires_at": now + lease_seconds,
                "open_callers": json.dumps(worker.open_callers),
            }
            connection.execute(insert(workers).values(**values))
        self._mine = worker.executor_id
        return None

    def renew(self, lease_seconds: float) -> None:
        """Stay alive for that much longer. Raises LeaseLostError if it is too late."""
        with self._transaction() as connection:
            until = database_now(connection, self._now()) + lease_seconds
            statement = update(workers).where(workers.c.executor_id == self._mine)
            if not connection.execute(statement.values(expires_at=until)).rowcount:
                raise self._lost()

    def show_doors(self, opened_at: float | None, callers: Collection[str]) -> None:
        """Tell the others since when this process can be sent to, and who has an association."""
        values = {"opened_at": opened_at, "open_callers": json.dumps(sorted(callers))}
        statement = update(workers).where(workers.c.executor_id == self._mine)
        with self._transaction() as connection:
            connection.execute(statement.values(**values))

    def end(self) -> None:
        """Give the lease back: what is left of this process's work is anybody's."""
        mine, self._mine = self._mine, None
        if mine is None:
            return
        with self._transaction() as connection:
            connection.execute(delete(workers).where(workers.c.executor_id == mine))

    def strike_off(self) -> tuple[Worker, ...]:
        """Let those whose lease is over be dead; gives them."""
        with self._transaction() as connection:
            over = workers.c.expires_at < database_now(connection, self._now())
            others = workers.c.executor_id != (self._mine or "")
            rows = connection.execute(delete(workers).where(over, others).returning(workers)).all()
            return tuple(map(_worker, rows))

    def alive(self) -> tuple[Worker, ...]:
        """Everybody who was not struck off, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(select(workers).order_by(workers.c.started_at)).all()
        return tuple(map(_worker, rows))

    def check(self) -> None:
        """Raise LeaseLostError if others do this process's work by now."""
        with self._reading() as connection:
            self.fence(connection)

    def fence(self, connection: Connection) -> None:
        """The same within a transaction: until it ends, nobody can strike this process off."""
        if self._mine is None:
            return
        query = select(workers.c.executor_id).where(workers.c.executor_id == self._mine)
        if connection.execute(query.with_for_update(read=True, key_share=True)).first() is None:
            raise self._lost()

    def _lost(self) -> LeaseLostError:
        return LeaseLostError(
            f"worker {self._mine} was taken for dead, others do its work",
            hint="raise [workers] lease_seconds if the machine stands still for that long",
        )


def _worker(row: object) -> Worker:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    return Worker(**{**values, "open_callers": tuple(json.loads(values["open_callers"]))})

"""Opening the ledger's database: SQLite beside the spool, or PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, create_engine, event, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.schema import Table

from wetread.errors import ConfigError, LedgerError
from wetread.ledger import tables

BUSY_TIMEOUT_SECONDS = 30.0
# A server that went away without a word is noticed within a minute or so.
POSTGRESQL_TIMEOUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
}
# So long a process that stands still may keep a lock that others wait for.
IDLE_IN_TRANSACTION_SECONDS = 15.0
# The execution option of a transaction that only reads.
READING = "wetread_reading"


def open_engine(url: str) -> Engine:
    """An engine whose writing transactions take the lock at once; the tables are made.

    Raises LedgerError if the database cannot be opened or was written by another schema version,
    ConfigError if the driver of PostgreSQL is not installed.
    """
    try:
        engine = create(url)
        with engine.begin() as connection:
            # Of processes that start together, one makes the tables.
            one_at_a_time(connection, "schema")
            tables.metadata.create_all(connection)
            # It makes no index on a table that is there already.
            tables.instances_by_uid.create(connection, checkfirst=True)
            _check_version(connection)
    except (ArgumentError, DBAPIError) as error:
        shown = str(getattr(error, "orig", error))
        raise LedgerError(
            f"the ledger cannot be opened: {shown}", hint="check [database] url and [spool] path"
        ) from error
    return engine


def create(url: str) -> Engine:
    """An engine as `open_engine` gives it, whose tables are whatever they are."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _create_postgresql(parsed)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _create_postgresql(url: URL) -> Engine:
    timeouts = {name: each for name, each in POSTGRESQL_TIMEOUTS.items() if name not in url.query}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=timeouts
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            "[database] url names PostgreSQL, and its driver is not installed",
            hint="install the extra: pip install 'wetread[postgres]'",
        ) from error
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_postgresql(connection: Any, _record: object) -> None:
    # Not an option at connecting: a pooler between may refuse those.
    milliseconds = int(IDLE_IN_TRANSACTION_SECONDS * 1000)
    connection.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
    connection.commit()


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another one wrote between.
    reading = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _check_version(connection: Connection) -> None:
    insert_once(
        connection, tables.properties, {"name": "schema_version", "value": tables.SCHEMA_VERSION}
    )
    query = select(tables.properties.c.value).where(tables.properties.c.name == "schema_version")
    found = connection.execute(query).scalar_one()
    if found != tables.SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has schema version {found}, this wetread reads {tables.SCHEMA_VERSION}",
            hint="of an earlier wetread: wetread upgrade; of a later one: run that",
        )


def insert_once(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key is there. Returns whether it was inserted."""
    insert = insert_sqlite if connection.dialect.name == "sqlite" else insert_postgresql
    statement = insert(table).values(**values).on_conflict_do_nothing()
    # Of an INSERT nobody keeps the count unless asked to.
    counted = statement.execution_options(preserve_rowcount=True)
    return connection.execute(counted).rowcount == 1


def take_turn(
    connection: Connection, table: Table, row: dict[str, Any], now: float
) -> Row[Any] | None:
    """The row as it stands, if `row["owner"]` has the turn from now on until `row["until"]`.

    Only one has it, until it was silent for too long. `row` is a new row of the table, whose key is
    what the turn is about.
    """
    insert_once(connection, table, row)
    [key] = table.primary_key.columns
    mine = (table.c.owner == row["owner"]) | (table.c.until <= now)
    taken = (
        update(table)
        .where(key == row[key.name], mine)
        .values(owner=row["owner"], until=row["until"])
        .returning(table)
    )
    return connection.execute(taken).first()


def one_at_a_time(connection: Connection, what: str) -> None:
    """Wait for other transactions about the same thing, and let later ones wait for this one.

    In SQLite every writing transaction is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))


def database_now(connection: Connection, otherwise: float) -> float:
    """Seconds since 1970 by PostgreSQL's own clock, the same for all machines; else as given."""
    if connection.dialect.name != "postgresql":
        return otherwise
    query = select(func.extract("epoch", func.clock_timestamp()))
    return float(connection.execute(query).scalar_one())


@contextmanager
def unavailable_as_ledger_error() -> Iterator[None]:
    """Turn a database that does not answer into a LedgerError."""
    try:
        yield
    except (DBAPIError, NoConnectionError) as error:
        raise LedgerError(
            f"the ledger does not answer: {getattr(error, 'orig', error)}",
            hint="check the database and its disk",
        ) from error

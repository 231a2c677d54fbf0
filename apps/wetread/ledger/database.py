"""Opening the ledger's database: SQLite beside the spool, or PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.schema import Table

from wetread.errors import LedgerError
from wetread.ledger import tables

BUSY_TIMEOUT_SECONDS = 30.0
# The execution option of a transaction that only reads.
READING = "wetread_reading"


def open_engine(url: str) -> Engine:
    """An engine whose writing transactions take the lock at once; the tables are made.

    Raises LedgerError if the database cannot be opened or was written by another schema version.
    """
    try:
        engine = _create(url)
        with engine.begin() as connection:
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


def _create(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


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
            hint="run the wetread that wrote it, or restore a backup",
        )


def insert_once(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key is there. Returns whether it was inserted."""
    insert = insert_sqlite if connection.dialect.name == "sqlite" else insert_postgresql
    statement = insert(table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement).rowcount == 1


@contextmanager
def unavailable_as_ledger_error() -> Iterator[None]:
    """Turn a database that does not answer into a LedgerError."""
    try:
        yield
    except DBAPIError as error:
        raise LedgerError(
            f"the ledger does not answer: {error.orig}", hint="check the database and its disk"
        ) from error

"""What holds for the ledger holds in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Clock
from postgres import PostgresServer
from wetread.ledger import Ledger
from wetread.ledger.tables import metadata


@pytest.fixture(scope="session")
def one_database(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    if request.param == "sqlite":
        opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", clock)
    else:
        opened = Ledger(request.getfixturevalue("one_database"), clock)
    yield opened
    with opened._engine.begin() as connection:
        if request.param == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER audit_no_delete")
        else:
            connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER audit_is_kept")
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
        if request.param == "postgresql":
            connection.exec_driver_sql("ALTER TABLE audit ENABLE TRIGGER audit_is_kept")
    opened.close()

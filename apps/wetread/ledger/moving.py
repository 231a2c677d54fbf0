"""Moving a ledger that an earlier wetread wrote to this one's schema; the file before is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, inspect, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from wetread.errors import LedgerError
from wetread.ledger import tables
from wetread.ledger.database import create, one_at_a_time

# From each version to the next. What is only added, tables and indexes, is made at the opening.
_STEPS: Mapping[str, tuple[str, ...]] = {
    "1": (
        "ALTER TABLE jobs ADD COLUMN attempts_since_retry INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN next_try_at FLOAT",
    ),
    "2": ("ALTER TABLE jobs ADD COLUMN stack VARCHAR NOT NULL DEFAULT ''",),
}


@dataclass(frozen=True, slots=True)
class Moved:
    """From which version to which; `kept` is the SQLite file as it was, None in PostgreSQL."""

    before: str
    after: str
    kept: Path | None


def move_ledger(url: str) -> Moved:
    """Bring the ledger at `url` to this schema version, in one transaction; all rows stay.

    No gateway may run on it. Nothing is done to one that has this version already.

    Raises LedgerError if there is no ledger, if it is of a version that this wetread does not know,
    such as a later one, or if the database refuses.
    """
    file = Path(make_url(url).database or "") if url.startswith("sqlite") else None
    if file is not None and not file.is_file():
        raise LedgerError(f"no ledger at {file}", hint="`wetread serve` makes it")
    try:
        engine = create(url)
        try:
            return _moved(engine, file)
        finally:
            engine.dispose()
    except (ArgumentError, DBAPIError) as error:
        raise LedgerError(
            f"the ledger cannot be moved: {getattr(error, 'orig', error)}",
            hint="it is as it was; check [database] url and its disk",
        ) from error


def _moved(engine: Engine, file: Path | None) -> Moved:
    before = _version_of(engine)
    if before == tables.SCHEMA_VERSION:
        return Moved(before, before, None)
    if before not in _STEPS:
        raise LedgerError(
            f"the ledger has schema version {before}, this wetread knows "
            f"{', '.join(_STEPS)} and {tables.SCHEMA_VERSION}",
            hint="run the wetread that wrote it, or restore a backup of before",
        )
    kept = None if file is None else _keep(file, before)
    with engine.begin() as connection:
        one_at_a_time(connection, "schema")
        version = before
        while version != tables.SCHEMA_VERSION:
            for statement in _STEPS[version]:
                connection.execute(text(statement))
            version = str(int(version) + 1)
        properties = tables.properties
        wanted = properties.c.name == "schema_version"
        connection.execute(update(properties).where(wanted).values(value=version))
    return Moved(before, version, kept)


def _version_of(engine: Engine) -> str:
    if not inspect(engine).has_table(tables.properties.name):
        raise LedgerError("the database holds no ledger", hint="check [database] url")
    query = select(tables.properties.c.value).where(tables.properties.c.name == "schema_version")
    with engine.connect() as connection:
        return str(connection.execute(query).scalar_one())


def _keep(file: Path, version: str) -> Path:
    """A whole copy beside it, with what is still in its write-ahead log."""
    kept = file.with_name(f"{file.name}.version-{version}")
    if kept.exists():
        raise LedgerError(
            f"{kept} is there already", hint="it is the copy of an earlier try: move it away"
        )
    part = kept.with_name(f"{kept.name}.part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    part.replace(kept)
    return kept

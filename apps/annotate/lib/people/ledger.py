"""One SQLite file: who holds which image, and every step of a review."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

_WAIT_SECONDS = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS holds (
    image TEXT NOT NULL, reader TEXT NOT NULL, how TEXT NOT NULL, given_by TEXT NOT NULL,
    since REAL NOT NULL, until REAL NOT NULL, PRIMARY KEY (image, reader)
);
CREATE TABLE IF NOT EXISTS steps (
    number INTEGER PRIMARY KEY, label TEXT NOT NULL, image TEXT NOT NULL, state TEXT NOT NULL,
    by TEXT NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS steps_of_a_label ON steps (label, number);
"""


class Ledger:
    """Whole after a crash, and right for several requests and processes at once.

    `clock` gives seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self.now = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as connection:
            connection.executescript(_TABLES)

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """What is read and written in it is done as one, or not at all; others wait."""
        with closing(self._open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """For reading."""
        with closing(self._open()) as connection:
            yield connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

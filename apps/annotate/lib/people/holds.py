"""Which image is with which reader: one thing, however it came about.

An image is offered by next-sample, taken by a reader, or assigned by a reviewer. As long as it is
with somebody, it is offered to nobody else, and nobody else may save a label of it. A reviewer may
assign one image to several readers, each of whom draws a label of his own. Saving ends a hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lib.errors import HeldError, NotThereError
from lib.people.ledger import Ledger, moment


class How(StrEnum):
    """How an image came to a reader."""

    OFFERED = "offered"
    TAKEN = "taken"
    ASSIGNED = "assigned"


HOURS = {How.OFFERED: 0.5, How.TAKEN: 24.0, How.ASSIGNED: 7 * 24.0}
MOST_HOURS = 90 * 24.0


@dataclass(frozen=True)
class Hold:
    """An image with a reader; `since` and `until` are seconds since 1970."""

    image: str
    reader: str
    how: How
    given_by: str
    since: float
    until: float

    def as_info(self) -> dict[str, Any]:
        """What a client sees."""
        return {
            "reader": self.reader,
            "how": str(self.how),
            "given_by": self.given_by,
            "since": moment(self.since),
            "until": moment(self.until),
        }


class Holds:
    """Of every image; those that have ended are as if they had never been."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self) -> list[Hold]:
        """Those that last, by image and reader."""
        with self._ledger.look() as connection:
            return self._lasting(connection)

    def of(self, image: str) -> list[Hold]:
        """Those of one image."""
        return [each for each in self.all() if each.image == image]

    def first_for(
        self, user: str, unlabelled: Sequence[str], every: Callable[[], Iterable[str]]
    ) -> list[str]:
        """Out of which images the next one is for him.

        Those that he took or that were assigned to him, labelled or not; else those without a label
        that are with nobody else. Empty if there are none.
        """
        held = self.all()
        own = {each.image for each in held if each.reader == user and each.how != How.OFFERED}
        if own and (first := sorted(own & set(every()))):
            return first
        others = {each.image for each in held if each.reader != user}
        mine = {each.image for each in held if each.reader == user}
        return [each for each in unlabelled if each not in others or each in mine]

    def offer(self, image: str, reader: str) -> bool:
        """Whether it is his now: not if somebody else was quicker."""
        try:
            self._give(image, reader, How.OFFERED, reader)
        except HeldError:
            return False
        return True

    def take(self, image: str, reader: str, hours: float = HOURS[How.TAKEN]) -> Hold:
        """For oneself. Raises HeldError if it is with somebody else."""
        return self._give(image, reader, How.TAKEN, reader, hours)

    def assign(self, image: str, reader: str, by: str, hours: float = HOURS[How.ASSIGNED]) -> Hold:
        """To one more reader, whoever has it."""
        return self._give(image, reader, How.ASSIGNED, by, hours)

    def renew(self, image: str, reader: str) -> None:
        """He works on it: it is his for as long as an offer lasts, if it is his at all."""
        with self._ledger.change() as connection:
            now = self._ledger.now()
            connection.execute(
                "UPDATE holds SET until = max(until, ?) WHERE image = ? AND reader = ?"
                " AND until > ?",
                (now + HOURS[How.OFFERED] * 3600, image, reader, now),
            )

    def release(self, image: str, reader: str) -> None:
        """End a hold. Raises NotThereError if there is none."""
        with self._ledger.change() as connection:
            before = {(each.image, each.reader) for each in self._lasting(connection)}
            if (image, reader) not in before:
                raise NotThereError(f"{image} is not with {reader}", hint="see GET /work")
            _remove(connection, image, reader)

    def check(self, image: str, user: str) -> None:
        """Before he saves. Raises HeldError if it is with others, and not with him too."""
        _refuse(self.of(image), user)

    def done(self, image: str, user: str) -> None:
        """His label is saved."""
        with self._ledger.change() as connection:
            _remove(connection, image, user)

    def _give(self, image: str, reader: str, how: How, by: str, hours: float | None = None) -> Hold:
        with self._ledger.change() as connection:
            there = [each for each in self._lasting(connection) if each.image == image]
            if how != How.ASSIGNED:
                _refuse(there, reader)
            now = self._ledger.now()
            hold = Hold(image, reader, how, by, now, now + (hours or HOURS[how]) * 3600)
            known = [each for each in there if each.reader == reader]
            if how == How.OFFERED and known:
                # An offer takes nothing from what he has already.
                return known[0]
            connection.execute(
                "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?)",
                (image, reader, str(how), by, hold.since, hold.until),
            )
        return hold

    def _lasting(self, connection: sqlite3.Connection) -> list[Hold]:
        rows = connection.execute(
            "SELECT * FROM holds WHERE until > ? ORDER BY image, reader", (self._ledger.now(),)
        )
        return [Hold(**{**dict(row), "how": How(row["how"])}) for row in rows]


def _refuse(there: Sequence[Hold], user: str) -> None:
    if not there or user in {each.reader for each in there}:
        return
    told = "; ".join(
        f"{each.reader} since {moment(each.since)} until {moment(each.until)}" for each in there
    )
    raise HeldError(
        f"{there[0].image} is with {told}",
        hint="ask them or a reviewer to release it, at /work; your viewer still has your label",
    )


def _remove(connection: sqlite3.Connection, image: str, reader: str) -> None:
    connection.execute("DELETE FROM holds WHERE image = ? AND reader = ?", (image, reader))

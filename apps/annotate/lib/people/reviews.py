"""What a reviewer says of a label: every step is kept, with who and when."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lib.errors import NotAllowedError, OwnLabelError, WrongStateError
from lib.people.ledger import Ledger, moment


class State(StrEnum):
    """How far a label is."""

    PROPOSED = "proposed"
    CORRECTED = "corrected"
    APPROVED = "approved"
    RETURNED = "returned"


# What is returned is drawn again, which makes another label; what is approved may prove wrong.
STEPS = {
    State.PROPOSED: (),
    State.CORRECTED: (State.APPROVED, State.RETURNED),
    State.APPROVED: (State.RETURNED,),
    State.RETURNED: (),
}
_NEXT = {
    State.PROPOSED: "a reader must save it first, changed or not",
    State.RETURNED: "its reader saves a new one",
}


@dataclass(frozen=True)
class Step:
    """A label came into a state; `at` in seconds since 1970."""

    label: str
    image: str
    state: State
    by: str
    at: float
    reason: str = ""

    def as_info(self) -> dict[str, Any]:
        """What a client sees."""
        return {
            "state": str(self.state),
            "by": self.by,
            "at": moment(self.at),
            "reason": self.reason,
        }


class Reviews:
    """A label without a step is as its drawing says: proposed, or corrected."""

    def __init__(self, ledger: Ledger, *, has_users: bool) -> None:
        self._ledger = ledger
        self._has_users = has_users

    def last(self) -> dict[str, Step]:
        """The last step of every label, by its id."""
        return {each.label: each for each in self._steps("")}

    def steps_of(self, label: str) -> list[Step]:
        """Its steps, the first one first."""
        return self._steps(" WHERE label = ?", label)

    def saved(self, label: str, image: str, by: str) -> None:
        """A reader has saved it."""
        with self._ledger.change() as connection:
            self._add(connection, Step(label, image, State.CORRECTED, by, self._ledger.now()))

    def review(
        self,
        label: str,
        image: str,
        first_state: State,
        authors: Collection[str],
        state: State,
        by: str,
        reason: str = "",
    ) -> Step:
        """Approve or return a label that `authors` have drawn.

        Raises WrongStateError, naming the state that it is in, OwnLabelError for an approval by one
        of its authors where there are users, NotAllowedError for a return without a reason.
        """
        if state == State.RETURNED and not reason.strip():
            raise NotAllowedError("a return without a reason", hint="say what is wrong with it")
        if state == State.APPROVED and self._has_users and by in authors:
            raise OwnLabelError(f"{by} has drawn it", hint="another reviewer may approve it")
        with self._ledger.change() as connection:
            rows = connection.execute(
                "SELECT state FROM steps WHERE label = ? ORDER BY number DESC LIMIT 1", (label,)
            ).fetchall()
            now = State(rows[0]["state"]) if rows else first_state
            if state not in STEPS[now]:
                allowed = " or ".join(STEPS[now])
                hint = _NEXT.get(now) or f"it can be {allowed}"
                raise WrongStateError(f"the label {label} is {now}, not to be {state}", hint=hint)
            step = Step(label, image, state, by, self._ledger.now(), reason.strip())
            self._add(connection, step)
        return step

    def forget(self, image: str) -> None:
        """Of an image whose labels are removed."""
        with self._ledger.change() as connection:
            connection.execute("DELETE FROM steps WHERE image = ?", (image,))

    def _steps(self, where: str, *values: str) -> list[Step]:
        columns = "SELECT label, image, state, by, at, reason FROM steps"
        with self._ledger.look() as connection:
            rows = connection.execute(f"{columns}{where} ORDER BY number", values).fetchall()
        return [Step(**{**dict(row), "state": State(row["state"])}) for row in rows]

    def _add(self, connection: sqlite3.Connection, step: Step) -> None:
        connection.execute(
            "INSERT INTO steps (label, image, state, by, at, reason) VALUES (?, ?, ?, ?, ?, ?)",
            (step.label, step.image, str(step.state), step.by, step.at, step.reason),
        )

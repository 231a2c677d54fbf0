"""What a doctor looked at: each thing with a fact, and what to do if it is not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wetread.errors import WetreadError

Check = tuple[str, Callable[[], str]]


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at; `hint` says what to do if it is not `ok`."""

    what: str
    ok: bool
    fact: str
    hint: str = ""


def look_at(checks: Iterable[Check]) -> list[Checked]:
    """Do each check: it gives a fact, or raises a WetreadError that says what is wrong."""
    return [_looked(what, check) for what, check in checks]


def _looked(what: str, check: Callable[[], str]) -> Checked:
    try:
        return Checked(what, True, check())
    except WetreadError as error:
        return Checked(what, False, error.message, error.hint)

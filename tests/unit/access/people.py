"""A door with three users behind it, whose passwords are alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from wetread.access.accounts import Accounts
from wetread.access.browsers import Browsers
from wetread.access.guard import Door
from wetread.access.headers import secure_headers
from wetread.access.keys import Sessions, Tokens
from wetread.access.limits import Limits
from wetread.access.roles import Role
from wetread.ledger import Ledger

PASSWORD = "correct horse battery"  # noqa: S105
HOST = "127.0.0.1:8060"
ADDRESS = f"http://{HOST}"
HOUR = 3600.0


@dataclass(frozen=True)
class People:
    accounts: Accounts
    sessions: Sessions
    tokens: Tokens
    engine: Engine


def people_of(ledger: Ledger, clock: Callable[[], float]) -> People:
    """`ann` is a viewer, `bob` an operator, `eve` an admin."""
    accounts = Accounts(ledger.engine, clock)
    for name, role in zip(("ann", "bob", "eve"), Role, strict=True):
        accounts.add(name, role, PASSWORD)
    sessions = Sessions(ledger.engine, clock, lasts_seconds=12 * HOUR, idle_seconds=HOUR)
    return People(accounts, sessions, Tokens(ledger.engine, clock), ledger.engine)


def door_of(people: People, *, is_secure: bool = False) -> Door:
    dashboard = ADDRESS.replace("http:", "https:") if is_secure else ADDRESS
    return Door(
        browsers=Browsers(people.accounts, people.sessions, dashboard),
        tokens=people.tokens,
        limits=Limits(),
        addresses={HOST: ADDRESS},
        open_paths=("/login", "/health", "/static"),
        headers=secure_headers(is_secure=is_secure),
        max_body_bytes=1_000_000,
    )

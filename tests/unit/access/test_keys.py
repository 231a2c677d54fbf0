"""Sessions and tokens: how long they last, and that their secrets are kept nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Clock
from unit.access.people import HOUR, PASSWORD, People
from wetread.access.keys import DAY_SECONDS, Sessions
from wetread.errors import AccessError
from wetread.ledger import Ledger


def test_a_session_ends_an_hour_after_its_last_use(people: People, clock: Clock) -> None:
    secret = people.sessions.open("ann")
    clock.advance(0.9 * HOUR)
    assert people.sessions.user_of(secret, used=True) == "ann"
    clock.advance(0.9 * HOUR)
    assert people.sessions.user_of(secret, used=False) == "ann"
    clock.advance(0.2 * HOUR)
    assert people.sessions.user_of(secret, used=True) is None


def test_a_session_that_is_used_ends_after_twelve_hours(people: People, clock: Clock) -> None:
    secret = people.sessions.open("ann")
    hours = 0
    while people.sessions.user_of(secret, used=True):
        clock.advance(HOUR / 2)
        hours += 0.5
    assert hours == 12


def test_a_session_outlives_a_restart_and_ends_with_a_log_out(
    people: People, clock: Clock, tmp_path: Path
) -> None:
    secret = people.sessions.open("ann")
    again = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", clock)
    sessions = Sessions(again.engine, clock, lasts_seconds=HOUR, idle_seconds=HOUR)
    assert sessions.user_of(secret, used=True) == "ann"
    people.sessions.close(secret)
    assert sessions.user_of(secret, used=True) is None
    again.close()


def test_a_token_ends_on_its_day(people: People, clock: Clock) -> None:
    short, endless = people.tokens.make("bob", "ci", 2), people.tokens.make("bob", "pacs", None)
    assert short.startswith("wetread_")
    clock.advance(1.9 * DAY_SECONDS)
    assert people.tokens.user_of(short) == "bob"
    clock.advance(0.2 * DAY_SECONDS)
    assert people.tokens.user_of(short) is None
    assert people.tokens.user_of(endless) == "bob"


def test_a_token_that_is_revoked_is_nobodys(people: People) -> None:
    token = people.tokens.make("bob", "ci", None)
    people.tokens.revoke("bob", "ci")
    assert people.tokens.user_of(token) is None
    with pytest.raises(AccessError, match="bob has no token 'ci'"):
        people.tokens.revoke("bob", "ci")


def test_a_token_needs_a_user_and_a_label_of_its_own(people: People) -> None:
    people.tokens.make("bob", "ci", None)
    with pytest.raises(AccessError, match="bob has a token 'ci' already"):
        people.tokens.make("bob", "ci", None)
    with pytest.raises(AccessError, match="no user zoe"):
        people.tokens.make("zoe", "ci", None)
    with pytest.raises(AccessError, match="1 to 64 characters"):
        people.tokens.make("bob", "", None)


def test_who_is_removed_has_neither_session_nor_token(people: People) -> None:
    session, token = people.sessions.open("bob"), people.tokens.make("bob", "ci", None)
    people.accounts.remove("bob")
    assert people.sessions.user_of(session, used=True) is None
    assert people.tokens.user_of(token) is None


def test_no_secret_is_in_the_database(people: People, tmp_path: Path) -> None:
    secrets = [PASSWORD, people.sessions.open("ann"), people.tokens.make("bob", "ci", None)]
    people.engine.dispose()
    kept = b"".join(each.read_bytes() for each in tmp_path.glob("ledger.sqlite3*"))
    assert b"argon2id" in kept
    assert [each for each in secrets if each.encode() in kept] == []

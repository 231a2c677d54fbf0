"""`wetread users`: from the first user to the last."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from wetread.access.accounts import Accounts
from wetread.access.keys import Tokens
from wetread.ledger import Ledger

from .conftest import Run


def types(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(line + "\n"))


def test_a_users_life(
    settings_file: Path, wetread: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before a gateway has run at all."""
    types(monkeypatch, "too short")
    assert wetread("users", "add", "ann").is_error(11, "12 to 256 characters, not 9")
    types(monkeypatch, "correct horse battery")
    assert wetread("users", "add", "ann", "--role", "admin").out == "ann: admin\n"
    types(monkeypatch, "another horse battery")
    assert wetread("users", "add", "bob").out == "bob: viewer\n"
    assert wetread("users", "role", "bob", "operator").out == "bob: operator\n"
    types(monkeypatch, "a third horse battery")
    assert wetread("users", "passwd", "bob").out == "bob: changed\n"
    token = wetread("users", "token", "bob", "--label", "ci", "--days", "1").out.strip()
    rows = wetread("users", "list", "--json").json
    assert [(each["user"], each["role"], each["tokens"]) for each in rows] == [
        ("ann", "admin", ""),
        ("bob", "operator", "ci"),
    ]
    ledger = Ledger(f"sqlite:///{tmp_path / 'spool/ledger.sqlite3'}")
    assert Accounts(ledger.engine, time.time).log_in("bob", "a third horse battery")
    assert Tokens(ledger.engine, time.time).user_of(token) == "bob"
    revoked = wetread("users", "token", "bob", "--label", "ci", "--revoke")
    assert revoked.out == "bob: token 'ci' revoked\n"
    assert Tokens(ledger.engine, time.time).user_of(token) is None
    ledger.close()
    assert wetread("users", "remove", "ann").is_error(11, "ann is the last admin")
    assert wetread("users", "remove", "bob").out == "bob: removed\n"


def test_a_role_that_there_is_not_is_named(settings_file: Path, wetread: Run) -> None:
    refused = wetread("users", "add", "ann", "--role", "root")
    assert refused.is_error(2, "'root'")
    assert "viewer, operator, admin" in refused.err


def test_who_is_not_there_is_told(settings_file: Path, wetread: Run) -> None:
    for words in (("passwd", "zoe"), ("role", "zoe", "admin"), ("remove", "zoe")):
        assert wetread("users", *words).is_error(11, "there is no user zoe")

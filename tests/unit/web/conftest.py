"""The application over a ledger of a test's own, and clients that are somebody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.testclient import TestClient

from conftest import Clock
from tiny_model import TinyModel
from unit.access.people import ADDRESS, PASSWORD, people_of
from wetread.access import hashing
from wetread.access.browsers import Browsers
from wetread.access.guard import Guard
from wetread.access.hashing import form_token
from wetread.access.limits import Limits
from wetread.config import Config, parse_config
from wetread.ledger import Ledger
from wetread.web.app import web_app
from wetread.web.site import Site

As = Callable[[str], TestClient]


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A good hash takes long on purpose."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(hashing, "_HASHER", quick)


@pytest.fixture
def config(tmp_path: Path, tiny_ct: TinyModel) -> Config:
    (tmp_path / "inbox").mkdir()
    return parse_config(
        {
            "spool": {"path": "spool", "min_free_bytes": 0},
            "model_repository": str(tiny_ct.repository),
            "models": {"tiny": {"bundle": str(tiny_ct.bundle)}},
            "destinations": {
                "inbox": {"kind": "folder", "path": "inbox"},
                "away": {"kind": "folder", "path": "away"},
            },
            "rules": [
                {
                    "name": "thin CT",
                    "when": {"modality": "CT", "min_instances": 5},
                    "run": ["tiny"],
                    "send_results_to": ["inbox"],
                }
            ],
        },
        source=tmp_path / "wetread.toml",
    )


@pytest.fixture
def site(config: Config, ledger: Ledger, clock: Clock) -> Site:
    people = people_of(ledger, clock)
    return Site(
        config=config,
        ledger=ledger,
        browsers=Browsers(people.accounts, people.sessions, ADDRESS),
        tokens=people.tokens,
        limits=Limits(),
        provider=None,
        clock=clock,
    )


@pytest.fixture
def guard(site: Site) -> Guard:
    found = web_app(site)
    assert isinstance(found, Guard)
    return found


@pytest.fixture
def application(guard: Guard) -> FastAPI:
    """What is behind the guard."""
    found = guard._app
    assert isinstance(found, FastAPI)
    return found


@pytest.fixture
def as_user(guard: Guard, site: Site) -> As:
    """A browser in which that user has logged in; "" is nobody."""

    def client(name: str) -> TestClient:
        browser = TestClient(guard, base_url=ADDRESS, follow_redirects=False)
        browser.headers["Origin"] = ADDRESS
        if name:
            secret = site.sessions.open(name)
            browser.cookies.set("wetread", secret)
            browser.headers["X-Form-Token"] = form_token(secret)
        return browser

    return client


@pytest.fixture
def browser(guard: Guard) -> Iterator[TestClient]:
    """In which nobody has logged in yet."""
    with TestClient(guard, base_url=ADDRESS, follow_redirects=False) as client:
        client.headers["Origin"] = ADDRESS
        yield client


__all__ = ["PASSWORD"]

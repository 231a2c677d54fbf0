"""Users in a ledger of a test's own."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from conftest import Clock
from unit.access.people import People, people_of
from wetread.access import hashing
from wetread.ledger import Ledger


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A good hash takes long on purpose."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(hashing, "_HASHER", quick)


@pytest.fixture
def people(ledger: Ledger, clock: Clock) -> People:
    return people_of(ledger, clock)

"""Fixtures that many folders use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tiny_model import TinyModel, write_tiny_model
from wetread.ledger import Ledger

if TYPE_CHECKING:
    from triton_server import RunningTriton

ROOT = Path(__file__).resolve().parent.parent
# Tools of the environment that runs the tests: dciodvfy, segimage2itkimage, wetread.
BIN = Path(sys.executable).parent


class Clock:
    """A clock that stands until it is moved; seconds since 1970."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Ledger:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", clock)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tiny_ct(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A bundle that finds the ellipsoid of a CT phantom."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny_ct"))


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    """A real Triton server with tiny networks; it starts with the first test that wants it."""
    from triton_server import running_triton

    with running_triton(tmp_path_factory.mktemp("triton")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WETREAD_") and name != "WETREAD_TEST_HEAD":
            monkeypatch.delenv(name)

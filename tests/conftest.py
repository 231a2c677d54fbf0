"""Fixtures that many folders use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tiny_model import TinyModel, write_tiny_model
from wetread.ledger import Ledger

if TYPE_CHECKING:
    from postgres import PostgresServer
    from triton_server import RunningTriton

ROOT = Path(__file__).resolve().parent.parent
# Tools of the environment that runs the tests: dciodvfy, segimage2itkimage, wetread.
BIN = Path(sys.executable).parent
# Folders whose files share servers that take long to start.
TOGETHER = ("tests/label_app/", "tests/network/", "tests/viewers/")

# `make test` draws the same examples each time, so that a change fails by its own fault alone.
settings.register_profile("repeatable", derandomize=True, print_blob=True)
settings.register_profile("fuzz", max_examples=20_000, print_blob=True)


class Clock:
    """A clock that stands until it is moved; seconds since 1970."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def pytest_configure() -> None:
    """Tests that run side by side share the cores, so each has one; so do processes they start."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


class _ByServer(LoadScopeScheduling):
    """Side by side run files, never the tests of one; nor those that ask one server for all."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByServer:
    """What gives the tests to the processes."""
    return _ByServer(config, log)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own; it starts with the first test that wants it."""
    from postgres import running_postgres

    with running_postgres() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WETREAD_") and name != "WETREAD_TEST_HEAD":
            monkeypatch.delenv(name)

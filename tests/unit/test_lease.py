"""What one process makes of the others' leases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from conftest import Clock
from wetread.config import parse_config
from wetread.errors import ConfigError
from wetread.lease import Lease
from wetread.ledger import Ledger, Worker
from wetread.receive.assembly import Doors

LEASE_SECONDS = 30.0
Take = Callable[..., Lease]


@pytest.fixture
def other(tmp_path: Path, ledger: Ledger, clock: Clock) -> Iterator[Ledger]:
    """The ledger as another process has it open."""
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", clock)) as opened:
        yield opened


@pytest.fixture
def take(tmp_path: Path, clock: Clock) -> Iterator[Take]:
    """Takes a lease through a ledger, under a name."""
    with ExitStack() as stack:

        def taken(ledger: Ledger, name: str = "one") -> Lease:
            workers = {"name": name, "lease_seconds": LEASE_SECONDS}
            config = parse_config({"spool": {"path": str(tmp_path)}, "workers": workers})
            made = Lease(config, ledger.workers, clock=clock)
            stack.callback(made.give_back, idle=True)
            made.take()
            return made

        yield taken


def test_a_gateway_that_opens_its_doors_starts_the_wait_anew_for_all(
    take: Take, ledger: Ledger, other: Ledger, clock: Clock
) -> None:
    """A sender that met closed doors there comes again there."""
    here = take(ledger, "one")
    there = take(other, "two")
    there.doors(Doors(frozenset({"MR1"}), 2000.0))
    assert here.doors(Doors(frozenset({"CT1"}), 1000.0)) == Doors(frozenset({"CT1", "MR1"}), 2000.0)


def test_while_a_gateway_starts_no_time_counts(
    take: Take, ledger: Ledger, other: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 5000.0)
    here = take(ledger, "one")
    take(other, "two")
    assert here.doors(Doors(frozenset(), 1000.0)).open_since == 5000.0


def test_a_worker_without_doors_says_nothing_of_them(
    take: Take, ledger: Ledger, other: Ledger, clock: Clock
) -> None:
    here = take(ledger)
    other.workers.begin(Worker("w:1", "w", "host", "boot", 1, 1, has_doors=False), 30.0)
    assert here.doors(Doors(frozenset(), 1000.0)).open_since == 1000.0


def test_nobody_is_struck_off_after_a_pause_of_all(
    take: Take, ledger: Ledger, other: Ledger, clock: Clock
) -> None:
    """As after a database that was away: whoever renews first must not take all others for dead."""
    here = take(ledger)
    other.workers.begin(Worker("w:1", "w", "host", "boot", 1, 1, has_doors=False), 30.0)
    clock.advance(300.0)
    here._beat()
    assert len(ledger.workers.alive()) == 2
    clock.advance(10.0)
    here._beat()
    assert len(ledger.workers.alive()) == 2


def test_who_gives_no_sign_for_longer_than_others_is_struck_off(
    take: Take, ledger: Ledger, other: Ledger, clock: Clock
) -> None:
    here = take(ledger)
    other.workers.begin(Worker("w:1", "w", "host", "boot", 1, 1, has_doors=False), 30.0)
    for _ in range(4):
        clock.advance(10.0)
        here._beat()
    assert [each.name for each in ledger.workers.alive()] == ["one"]


def test_a_name_that_is_in_use_on_this_machine_is_refused_at_once(
    take: Take, ledger: Ledger, other: Ledger, clock: Clock
) -> None:
    take(ledger)
    with pytest.raises(ConfigError, match=r"another wetread \(process \d+\) works as 'one'"):
        take(other)


def test_a_name_that_is_in_use_elsewhere_is_refused_when_it_is_renewed(
    take: Take, ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.workers.begin(Worker("one:1", "one", "far", "boot", 7, 1, has_doors=True), 30.0)

    def renew(_seconds: float) -> None:
        clock.advance(10.0)
        ledger.workers.renew(30.0)

    monkeypatch.setattr("time.sleep", renew)
    with (
        closing(Ledger(str(ledger._engine.url), clock)) as mine,
        pytest.raises(ConfigError, match=r"another wetread \(process 7 on far\) works as 'one'"),
    ):
        take(mine)


def test_a_name_that_was_in_use_elsewhere_is_free_when_its_lease_is_over(
    take: Take, ledger: Ledger, other: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.workers.begin(Worker("one:1", "one", "far", "boot", 7, 1, has_doors=True), 30.0)
    monkeypatch.setattr("time.sleep", clock.advance)
    mine = take(ledger)
    assert [each.executor_id for each in ledger.workers.alive()] == [mine.executor_id]

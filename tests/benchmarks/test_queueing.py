"""The simulation agrees with what is known of queues by arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.queueing import (
    DAY_SECONDS,
    PEAK,
    Visit,
    limit_per_hour,
    poisson,
    simulate,
    working_day,
)

STUDIES = 20_000
SERVICE_SECONDS = 10.0
RATE_PER_HOUR = 252.0
LOAD = RATE_PER_HOUR * SERVICE_SECONDS / 3600.0


def server(seconds: Callable[[int], float]) -> Callable[[int], list[Visit]]:
    return lambda number: [Visit(("server",), seconds(number))]


@pytest.mark.parametrize(
    ("kind", "waits_for"),
    [
        # Pollaczek-Khinchine: M/M/1 waits rho / (1 - rho) services, M/D/1 half of that.
        ("M/M/1", LOAD / (1 - LOAD) * SERVICE_SECONDS),
        ("M/D/1", LOAD / (1 - LOAD) * SERVICE_SECONDS / 2),
    ],
)
def test_one_server_keeps_waiting_whom_the_formula_says(kind: str, waits_for: float) -> None:
    random = np.random.default_rng(7)
    times = random.exponential(SERVICE_SECONDS, STUDIES)
    arrivals = poisson(RATE_PER_HOUR, STUDIES, random)
    run = simulate(
        arrivals,
        server(lambda number: times[number] if kind == "M/M/1" else SERVICE_SECONDS),
        {"server": 1},
    )
    assert np.mean(run.waits["server"]) == pytest.approx(waits_for, rel=0.1)
    assert run.utilisation({"server": 1})["server"] == pytest.approx(LOAD, rel=0.03)


def test_two_servers_wait_as_erlang_says() -> None:
    """M/M/2: the chance to wait at all is Erlang's C."""
    random = np.random.default_rng(11)
    times = random.exponential(SERVICE_SECONDS, STUDIES)
    offered = 2 * LOAD
    waits_at_all = 1 / (1 + 2 * (1 - LOAD) / offered**2 * (1 + offered))
    run = simulate(
        poisson(2 * RATE_PER_HOUR, STUDIES, random), server(times.__getitem__), {"server": 2}
    )
    waited = np.mean(np.array(run.waits["server"]) > 0)
    assert waited == pytest.approx(waits_at_all, rel=0.05)


def test_as_many_are_inside_as_come_times_how_long_they_stay() -> None:
    """Little's law, through two resources and a wait."""
    random = np.random.default_rng(3)
    times = random.exponential(SERVICE_SECONDS, 2000)
    run = simulate(
        poisson(RATE_PER_HOUR, 2000, random),
        lambda number: [Visit(("a", "b"), times[number]), Visit((), 30.0), Visit(("b",), 2.0)],
        {"a": 1, "b": 2},
    )
    rate = len(run.arrivals) / run.ended
    assert run.area / run.ended == pytest.approx(rate * np.mean(run.sojourns), rel=1e-6)


def test_the_resource_that_is_full_first_is_found() -> None:
    study = [Visit(("disk",), 4.0), Visit(("worker", "cores"), 9.0), Visit(("disk",), 1.0)]
    assert limit_per_hour(study, {"disk": 1, "worker": 1, "cores": 8}) == (400.0, "worker")
    assert limit_per_hour(study, {"disk": 1, "worker": 4, "cores": 8}) == (720.0, "disk")


def test_beyond_that_limit_the_queue_grows_there() -> None:
    """Every ten seconds twenty more are to be done, and ten are."""
    study = [Visit(("disk",), 1.0), Visit(("worker",), 20.0)]
    run = simulate([10.0 * each for each in range(100)], lambda _: study, {"disk": 1, "worker": 1})
    assert max(run.waits["disk"]) == 0
    assert run.waits["worker"][-1] == pytest.approx(99 * 10.0)


def test_a_working_day_has_its_mean_and_its_peak() -> None:
    arrivals = working_day(1000.0, np.random.default_rng(5))
    by_hour = np.histogram(arrivals, bins=24, range=(0, DAY_SECONDS))[0]
    assert len(arrivals) == pytest.approx(24_000, abs=5 * math.sqrt(24_000))
    assert by_hour.max() == pytest.approx(1000 * PEAK, rel=0.06)

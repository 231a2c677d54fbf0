"""Studies that queue: a simulation of places that each serve one study at a time.

A study makes visits, one after the other. Each holds a place of every resource that it names for
so many seconds; one that names none is a wait that holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import simpy

DAY_SECONDS = 86_400.0
# How busy each hour of a working day is; the mean is 1. An assumption: no hospital was measured.
HOURS = (
    *(0.3, 0.3, 0.3, 0.3, 0.3, 0.4, 0.6, 1.2, 1.8, 2.0, 2.0, 1.9),
    *(1.6, 1.7, 1.9, 1.8, 1.5, 1.2, 0.8, 0.6, 0.5, 0.4, 0.3, 0.3),
)
PEAK = max(HOURS) * len(HOURS) / sum(HOURS)


@dataclass(frozen=True)
class Visit:
    """`seconds` with a place of each of `resources`, taken in that order."""

    resources: tuple[str, ...]
    seconds: float


@dataclass
class Run:
    """What came out, in seconds: of each study its time from start to end, of each resource what
    studies waited for it and how long its places were held; `area` is study-seconds inside."""

    arrivals: Sequence[float]
    sojourns: list[float] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    ended: float = 0.0
    area: float = 0.0

    def utilisation(self, capacity: Mapping[str, int]) -> dict[str, float]:
        """The share of each resource's places that was held, from 0 to the end."""
        return {name: self.held[name] / (places * self.ended) for name, places in capacity.items()}

    def wait(self, name: str, percent: float) -> float:
        """That percentile of what a study waits for a resource, in seconds."""
        return float(np.percentile(self.waits[name] or [0.0], percent))


def simulate(
    arrivals: Sequence[float],
    visits: Callable[[int], Sequence[Visit]],
    capacity: Mapping[str, int],
) -> Run:
    """Let study number i come at `arrivals[i]` and make `visits(i)`; first come, first served."""
    environment = simpy.Environment()
    resources = {name: simpy.Resource(environment, places) for name, places in capacity.items()}
    run = Run(arrivals, waits={name: [] for name in capacity}, held=dict.fromkeys(capacity, 0.0))
    inside, since = 0, 0.0

    def count(change: int) -> None:
        nonlocal inside, since
        run.area += inside * (environment.now - since)
        inside, since = inside + change, environment.now

    def study(number: int) -> Iterator[simpy.Event]:
        yield environment.timeout(arrivals[number])
        count(1)
        for visit in visits(number):
            yield from _serve(environment, resources, visit, run)
        count(-1)
        run.sojourns.append(environment.now - arrivals[number])

    for number in range(len(arrivals)):
        environment.process(study(number))
    environment.run()
    run.ended = environment.now
    return run


def _serve(
    environment: simpy.Environment,
    resources: Mapping[str, simpy.Resource],
    visit: Visit,
    run: Run,
) -> Iterator[simpy.Event]:
    taken, since = [], []
    for name in visit.resources:
        asked = environment.now
        request = resources[name].request()
        yield request
        run.waits[name].append(environment.now - asked)
        taken.append((name, request))
        since.append(environment.now)
    yield environment.timeout(visit.seconds)
    for (name, request), start in zip(taken, since, strict=True):
        run.held[name] += environment.now - start
        resources[name].release(request)


def demands(visits: Sequence[Visit]) -> dict[str, float]:
    """Seconds that a study holds each resource."""
    found: dict[str, float] = {}
    for visit in visits:
        for name in visit.resources:
            found[name] = found.get(name, 0.0) + visit.seconds
    return found


def limit_per_hour(visits: Sequence[Visit], capacity: Mapping[str, int]) -> tuple[float, str]:
    """Studies an hour at which the first resource is full, and which one that is."""
    most = {
        name: 3600.0 * capacity[name] / seconds
        for name, seconds in demands(visits).items()
        if seconds
    }
    name = min(most, key=most.__getitem__)
    return most[name], name


def poisson(per_hour: float, count: int, random: np.random.Generator) -> list[float]:
    """The times of `count` arrivals at a steady rate, in seconds."""
    return list(np.cumsum(random.exponential(3600.0 / per_hour, count)))


def working_day(per_hour: float, random: np.random.Generator) -> list[float]:
    """Arrivals of 24 hours with a mean of `per_hour` that follow HOURS, in seconds."""
    peak = per_hour * PEAK
    steady = np.cumsum(random.exponential(3600.0 / peak, int(peak * 24 * 1.2) + 100))
    steady = steady[steady < DAY_SECONDS]
    share = np.array(HOURS)[(steady // 3600).astype(int)] / max(HOURS)
    return list(steady[random.random(len(steady)) < share])

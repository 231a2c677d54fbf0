"""What every benchmark shares: rounds in turns, a cell, a table."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def in_turns(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side, one a round; the sides take turns so that noise falls on all."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            gc.collect()
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def cell(values: Sequence[float], digits: int = 2) -> str:
    """Median [lowest-highest]."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


def ratio(values: Sequence[float], to: Sequence[float]) -> str:
    """How many times as large as `to`, median of the ratios of each round."""
    return f"{statistics.median(a / b for a, b in zip(values, to, strict=True)):.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def compared(seconds: Mapping[str, Sequence[float]], first: str, what: str) -> str:
    """A table of seconds by side, and each side's ratio to `first`."""
    rows = [
        [name, cell(values, 3), ratio(values, seconds[first])] for name, values in seconds.items()
    ]
    return table([what, "seconds", f"to {first}"], rows)

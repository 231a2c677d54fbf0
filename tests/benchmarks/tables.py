"""What every benchmark shares: rounds in turns, a cell, a table."""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


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


def run_alone(report: Callable[[Path, int], str], description: str) -> None:
    """The command line of one benchmark: 5 rounds, or with --quick 1."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(report(Path(folder), 1 if options.quick else 5))

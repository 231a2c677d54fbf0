"""What the demo prints: a line with its seconds for each stage. Imports nothing heavy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from wetread.console import out


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Print a line with a tick and the seconds that the block took, once it has ended well."""
    started = time.perf_counter()
    yield
    tick(what, time.perf_counter() - started)


def tick(what: str, seconds: float) -> None:
    """Print the line of a stage that was timed elsewhere."""
    out.print(f"[green]✔[/green] {seconds:7.2f} s  ", end="")
    out.print(what, markup=False, highlight=False)


def say(line: str = "") -> None:
    """Print a line as it is."""
    out.print(line, markup=False, highlight=False)

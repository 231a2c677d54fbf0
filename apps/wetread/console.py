"""What the command line shows: tables on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from wetread.errors import ConfigError, WetreadError

Choice = TypeVar("Choice", bound=StrEnum)

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

# What a person copies from one command into the next; other columns are folded first.
_IDENTIFIERS = {"study", "series", "job", "delivery"}
# Wider than any row: what goes to a file or to grep is not folded.
_UNFOLDED_COLUMNS = 10_000

STATE_STYLES = {
    "done": "green",
    "delivered": "green",
    "routed": "green",
    "matched": "green",
    "yes": "green",
    "readable": "green",
    "refused": "red",
    "failed": "red",
    "dead": "red",
    "fetched": "green",
    "incomplete": "red",
    "no": "red",
    "running": "yellow",
    "pending": "yellow",
    "arriving": "yellow",
}


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a title; words for states are coloured. Folded to a terminal's width."""
    if not rows:
        out.print(f"{title}: none", markup=False, highlight=False)
        return
    out.print(Text(title, style="bold"))
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _IDENTIFIERS)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    width = None if sys.stdout.isatty() else _UNFOLDED_COLUMNS
    Console(width=width).print(table)


def show_records(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, as_json: bool
) -> None:
    """Print rows as a table, or as a JSON list of objects with the columns as keys."""
    if not as_json:
        show_table(title, columns, rows)
        return
    keys = [column.replace(" ", "_") for column in columns]
    show_json([dict(zip(keys, row, strict=True)) for row in rows])


def show_json(value: object) -> None:
    """Print a value as JSON; what JSON has no form for (a path) as its text."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def choice(kind: type[Choice], value: str) -> Choice:
    """The member of an enumeration. Raises ConfigError that lists the allowed values."""
    try:
        return kind(value)
    except ValueError as error:
        allowed = ", ".join(kind)
        raise ConfigError(
            f"{value!r} is none of the choices", hint=f"allowed: {allowed}"
        ) from error


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    return Text(text, style=STATE_STYLES.get(text, ""))


def show_error(error: WetreadError) -> None:
    """The fact, a blank line, and what to do."""
    err.print("[red]error:[/red] ", end="")
    err.print(error.message, markup=False, highlight=False)
    if error.hint:
        err.print()
        err.print(f"hint: {error.hint}", markup=False, highlight=False)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr if that is a terminal; the callback takes the stage and the share done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    silent = not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=silent) as progress:
        task = progress.add_task(title, total=1.0)

        def update(stage: str, fraction: float) -> None:
            progress.update(task, description=f"{title}: {stage}", completed=fraction)

        yield update


def clock(seconds: float | None) -> str:
    """A time of the ledger as local date and time."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")

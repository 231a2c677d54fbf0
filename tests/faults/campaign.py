"""`make faults`: kills by the hundred, and what came of them as a table."""

from __future__ import annotations

import argparse
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults.hindrances import waiting
from faults.moments import MOMENTS, random_kill
from faults.outages import outlast
from faults.ward import Found, Ward, ward_in
from postgres import PostgresServer, running_postgres
from tiny_model import TinyModel, write_tiny_model

# So many studies share a ledger before everything is counted.
BLOCK = 20
OUTAGE_SECONDS = 120.0
# Name, on PostgreSQL, names of workers beside the gateway, kills.
KINDS: Sequence[tuple[str, bool, tuple[str, ...], int]] = (
    ("PostgreSQL, a gateway and two workers", True, ("one", "two"), 60),
    ("PostgreSQL, one process", True, (), 60),
    ("SQLite, one process", False, (), 180),
)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def kill_one(ward: Ward, number: int, chance: random.Random, usual_seconds: float) -> str:
    """The next kill: every second one at the next boundary, the others at random."""
    if number % 2:
        random_kill(ward, chance, usual_seconds)
        return "at random"
    moment = list(MOMENTS)[number // 2 % len(MOMENTS)]
    ward.start()
    study = ward.send_a_study()
    ward.gateway.wait_until_it_listens()
    look, victim = MOMENTS[moment], chance.choice(ward.processes)
    over = "3 of 3 delivered"
    victim.kill_when(lambda: look(ward, study) or ward.stage(study) == over, seconds=180)
    return moment


def run_block(
    folder: Path, tiny: TinyModel, database: str, workers: Sequence[str], numbers: Iterable[int]
) -> tuple[Found, Counter[str]]:
    """One ward, killed once for each number; what it has in the end."""
    chance = random.Random(f"{database != ''} {workers} {numbers}")  # noqa: S311 - no secret
    # Senders wait for their turn on a busy machine, too.
    quiet = {"series_quiet_seconds": 2.0}
    with ward_in(folder, tiny, database=database, workers=workers, assembly=quiet) as ward:
        usual_seconds = ward.read_a_study()
        at = Counter(kill_one(ward, number, chance, usual_seconds) for number in numbers)
        ward.finish(seconds=300)
        found = ward.count()
        assert found.is_whole, found
        ward.check()
    return found, at


def run_kind(
    folder: Path,
    tiny: TinyModel,
    server: PostgresServer | None,
    workers: Sequence[str],
    kills: int,
) -> tuple[Found, Counter[str]]:
    found, at = Found(), Counter[str]()
    for start in range(0, kills, BLOCK):
        numbers = range(start, min(start + BLOCK, kills))
        database = server.new_database() if server else ""
        block, where = run_block(folder / str(start), tiny, database, workers, numbers)
        found.add(block)
        at += where
        say(f"  {numbers.stop} of {kills} kills, so far {found}")
    return found, at


def outage(folder: Path, tiny: TinyModel, server: PostgresServer, seconds: float) -> str:
    """Take the database away from a gateway and a worker; what came of it in words."""
    place = folder / "model"
    folder.mkdir()
    model, database = waiting(tiny, place), server.new_database()
    with ward_in(folder, model, database=database, workers=("one",)) as ward:
        outlast(ward, server, place, seconds)
        found = ward.count()
    return (
        f"PostgreSQL stopped for {seconds:.0f} s under a gateway and a worker: senders were "
        f"answered A700, of {found.images} images {found.lost_images} were lost, of "
        f"{3 * found.studies} results {found.missing_results}; no process was started again."
    )


def commit() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "no git"


def table(
    rows: Sequence[tuple[str, Found, Counter[str]]], minutes: float, also: Sequence[str]
) -> str:
    """What the README of this folder says, as Markdown."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, Python {platform.python_version()}, "
        f"{minutes:.0f} minutes.",
        "",
        "| | kills | images sent | lost | results wanted | missing | doubled | sent again "
        "| with other bytes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found, at in rows:
        numbers = (
            sum(at.values()),
            found.images,
            found.lost_images,
            3 * found.studies,
            found.missing_results,
            found.doubled_results,
            found.repeated_sends,
            found.changed_sends,
        )
        lines.append(f"| {name} | {' | '.join(map(str, numbers))} |")
    lines += ["", f"| aimed at | {' | '.join(name for name, *_ in rows)} |"]
    lines.append(f"|---|{'---|' * len(rows)}")
    for moment in ["at random", *MOMENTS]:
        counts = " | ".join(str(at[moment]) for *_, at in rows)
        lines.append(f"| {moment} | {counts} |")
    return "\n".join([*lines, "", *also]).rstrip()


def write(
    output: Path, rows: Sequence[tuple[str, Found, Counter[str]]], started: float, *also: str
) -> str:
    """What there is so far, in a file too."""
    text = table(rows, (time.monotonic() - started) / 60, also)
    output.write_text(text + "\n", encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual kills and seconds")
    parser.add_argument("--output", type=Path, default=Path("faults.md"))
    arguments = parser.parse_args()
    started = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        tiny = write_tiny_model(Path(folder) / "tiny")
        for name, shared, workers, kills in KINDS:
            say(name)
            place = Path(folder) / name.replace(" ", "-")
            count = max(1, round(arguments.share * kills))
            found, at = run_kind(place, tiny, server if shared else None, workers, count)
            rows.append((name, found, at))
            write(arguments.output, rows, started)
        seconds = OUTAGE_SECONDS * arguments.share
        also = outage(Path(folder) / "outage", tiny, server, seconds)
        say(write(arguments.output, rows, started, also))


if __name__ == "__main__":
    main()

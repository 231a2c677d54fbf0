"""What fills up first when more studies come, and how far the answer can be trusted.

    python tests/benchmarks/scale.py [--quick]

Measured: two real studies, one by one, through a gateway that reads nothing and a worker, each a
process of its own with one thread a network, on SQLite (one process) and on PostgreSQL; dcmtk's
storescu sends and its storescp stands for the PACS. Seconds are the ledger's and the metrics' own.
Simulated: a working day with Poisson arrivals, from those seconds. Held against reality: one and
two workers that get studies faster than one can read them, at the times of the simulation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import nibabel
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, func, select

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.head import BUNDLE, NETWORKS, ROOT, write_head
from benchmarks.queueing import (
    PEAK,
    Run,
    Visit,
    demands,
    limit_per_hour,
    poisson,
    simulate,
    working_day,
)
from benchmarks.receive import seconds_to_send
from benchmarks.tables import table
from gateway import eventually
from network import neighbours
from postgres import PostgresServer, running_postgres
from readings import BIN
from wetread.demo.head import write_head_series
from wetread.dicom.files import find_instances
from wetread.files import write_atomically
from wetread.infer.base import no_progress
from wetread.ledger import DeliveryRecord, DeliveryState, JobRecord, JobState, Ledger, tables
from wetread.ledger.database import create
from wetread.models.export import build_models

SMALL_BUNDLE = ROOT / "bundles/hippocampus_mr_segmentation"
SMALL_SHAPE = (36, 50, 36)
HEAD, SMALL = "head, brain_mr_extraction", "small, hippocampus_mr_segmentation"
QUIET_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
# What is assumed: the default quiet time, one gateway, one PACS, and what a worker's host has.
ASSUMED_QUIET_SECONDS = 30.0
LINK_BITS_PER_SECOND = 1e9
ASSOCIATIONS = 2
DATABASE_PLACES = 4
RATES, WORKERS = (10, 100, 1000), (1, 2, 4, 8)
# A country; a day of a weekend has a third of the studies of a working day.
STUDIES_A_YEAR, WORKING_DAYS, QUIET_SHARE = 30e6, 250, 1 / 3
MOST_FILL, KEPT_DAYS = 0.7, 7

SETTINGS = """
model_repository = "{networks}"
[listener]
port = {port}
accept_calling_ae_titles = ["*"]
[spool]
path = "{spool}"
min_free_bytes = 0
[web]
enabled = false
[database]
url = "{database}"
[assembly]
series_quiet_seconds = {quiet}
[models.head]
bundle = "{head}"
threads = 1
[models.small]
bundle = "{small}"
threads = 1
[destinations.pacs]
kind = "dicom"
host = "127.0.0.1"
port = {pacs}
called_ae_title = "DCMTK"
[[rules]]
name = "head"
when.min_instances = 100
run = ["head"]
send_results_to = ["pacs"]
[[rules]]
name = "small"
when.modality = "MR"
run = ["small"]
send_results_to = ["pacs"]
"""


@dataclass(frozen=True)
class Recorded:
    """One study, alone in the gateway: seconds unless the name says otherwise.

    `receive` is from the first image sent to the last answer, `listener` the CPU that it took,
    `job` from start to end of the job, `stages` those of its reading, `deliver` the sum over its
    objects, `other` what is left: polls, and headers read for the rules.
    """

    images: int
    size_mb: float
    receive: float
    listener: float
    sync: float
    transactions: float
    transacting: float
    job: float
    stages: float
    deliver: float
    other: float
    rows: float

    @staticmethod
    def median(each: Sequence[Recorded]) -> Recorded:
        """Of each figure by itself."""
        names = Recorded.__dataclass_fields__
        return Recorded(**{name: statistics.median(getattr(one, name) for one in each)
                           for name in names})  # fmt: skip


class Site:
    """Processes of wetread on one spool and database, and what to ask them."""

    def __init__(
        self, port: int, metrics: Sequence[int], gateway: int, ledger: Ledger, engine: Engine
    ) -> None:
        self.port = port
        self._engine = engine
        self.ledger = ledger
        self._metrics = metrics
        self._gateway = psutil.Process(gateway)
        self._client = httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=60)

    def figure(self, name: str) -> float:
        """The sum of a metric over all processes and labels."""
        return sum(
            sample.value
            for port in self._metrics
            for family in text_string_to_metric_families(
                self._client.get(f"http://127.0.0.1:{port}/metrics").text
            )
            for sample in family.samples
            if sample.name == name
        )

    def rows(self) -> int:
        """In all tables of the ledger."""
        with self._engine.connect() as connection:
            counts = (
                connection.execute(select(func.count()).select_from(each)).scalar_one()
                for each in tables.metadata.tables.values()
            )
            return sum(counts)

    def cpu_seconds(self) -> float:
        """Of the gateway's process since its start."""
        times = self._gateway.cpu_times()
        return float(times.user + times.system)

    def delivered(self, study: str) -> tuple[JobRecord, list[DeliveryRecord]]:
        """The job of a study and its deliveries, once all of them are done."""
        found = eventually(lambda: self._delivered(study), seconds=PATIENCE_SECONDS)
        assert found is not None
        return found

    def _delivered(self, study: str) -> tuple[JobRecord, list[DeliveryRecord]] | None:
        jobs = self.ledger.jobs.list(study=study)
        if any(job.state == JobState.FAILED for job in jobs):
            raise SystemExit(f"the job failed: {jobs[0].failure}")
        if not jobs or jobs[0].state != JobState.DONE:
            return None
        objects = self.ledger.deliveries.list(job_id=jobs[0].job_id)
        done = objects and all(each.state == DeliveryState.DELIVERED for each in objects)
        return (jobs[0], list(objects)) if done else None


@contextmanager
def running_site(folder: Path, database: str, workers: int) -> Iterator[Site]:
    """A gateway, and so many workers beside it; with none it reads by itself."""
    folder.mkdir()
    port, ports = neighbours.free_port(), [neighbours.free_port() for _ in range(workers + 1)]
    with ExitStack() as stack:
        pacs = stack.enter_context(neighbours.dcmtk_storescp(folder))
        config = folder / "wetread.toml"
        text = SETTINGS.format(
            networks=NETWORKS, port=port, spool=folder / "spool", database=database,
            quiet=QUIET_SECONDS, head=BUNDLE, small=SMALL_BUNDLE, pacs=pacs.port,
        )  # fmt: skip
        config.write_text(text, encoding="utf-8")
        pids = []
        for number, own in enumerate(ports):
            command = [
                *("env", f"WETREAD_METRICS__PORT={own}", f"WETREAD_WORKERS__NAME=process{number}"),
                f"WETREAD_WORKERS__JOBS={0 if workers and not number else 1}",
                *(BIN / "wetread", "work" if number else "serve", "--config", config),
            ]
            log = folder / f"log{number}"
            pids.append(
                stack.enter_context(neighbours.running(command, log, own, PATIENCE_SECONDS))
            )
        url = database or f"sqlite:///{folder / 'spool/ledger.sqlite3'}"
        ledger = stack.enter_context(closing(Ledger(url)))
        neighbours_are_up(port)
        engine = create(url)
        stack.callback(engine.dispose)
        yield Site(port, ports, pids[0], ledger, engine)


def neighbours_are_up(port: int) -> None:
    """Wait until the gateway takes images."""

    def listens() -> bool:
        with closing(neighbours.socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens, seconds=60)


def write_small(folder: Path) -> Path:
    """The middle of the head as a series of 36 slices."""
    image = nibabel.as_closest_canonical(nibabel.load(ROOT / ".cache/head/ch2.nii.gz"))
    at = [(have - want) // 2 for have, want in zip(image.shape, SMALL_SHAPE, strict=True)]
    cut = image.slicer[tuple(slice(a, a + n) for a, n in zip(at, SMALL_SHAPE, strict=True))]
    nibabel.save(cut, folder / "small.nii.gz")
    write_head_series(folder / "small.nii.gz", folder / "small")
    return folder / "small"


WRITERS = {HEAD: write_head, SMALL: write_small}


def write_study(folder: Path, kind: str) -> tuple[str, list[Path]]:
    """A new study: its UID and its files."""
    folder.mkdir()
    found = find_instances(WRITERS[kind](folder))
    return found[0].study_instance_uid, [each.path for each in found]


def record(site: Site, folder: Path, kind: str) -> Recorded:
    """Send one study and wait for the end of it."""
    study, paths = write_study(folder, kind)
    transactions, transacting = (
        site.figure(f"wetread_ledger_seconds_{each}") for each in ("count", "sum")
    )
    deliver, cpu = site.figure("wetread_delivery_seconds_sum"), site.cpu_seconds()
    rows = site.rows()
    started = time.time()
    seconds_to_send(paths, 1, site.port, "WETREAD")
    sent, received_cpu = time.time(), site.cpu_seconds() - cpu
    job, objects = site.delivered(study)
    ended = max(each.delivered_at or 0.0 for each in objects)
    ran = (job.finished_at or 0.0) - (job.started_at or 0.0)
    delivering = site.figure("wetread_delivery_seconds_sum") - deliver
    return Recorded(
        images=len(paths),
        size_mb=sum(path.stat().st_size for path in paths) / 1e6,
        receive=sent - started,
        listener=received_cpu,
        sync=seconds_to_write(folder / "again", paths),
        transactions=site.figure("wetread_ledger_seconds_count") - transactions,
        transacting=site.figure("wetread_ledger_seconds_sum") - transacting,
        job=ran,
        stages=sum(job.seconds.values()),
        deliver=delivering,
        other=max(0.0, ended - sent - QUIET_SECONDS - ran - delivering),
        rows=site.rows() - rows,
    )


def seconds_to_write(folder: Path, paths: Sequence[Path]) -> float:
    """Of the same files again, synced as the spool does it."""
    contents = [path.read_bytes() for path in paths]
    started = time.perf_counter()
    for number, content in enumerate(contents):
        write_atomically(folder / str(number), [content])
    return time.perf_counter() - started


def recordings(
    folder: Path, postgres: PostgresServer, rounds: int
) -> dict[tuple[str, str], Recorded]:
    """By study and database; a first study of each opens the model and does not count."""
    found = {}
    for name, database, workers in (("SQLite", "", 0), ("PostgreSQL", postgres.new_database(), 1)):
        with running_site(folder / name, database, workers) as site:
            for kind in WRITERS:
                each = [
                    record(site, folder / f"{name} {kind[:5]} {number}", kind)
                    for number in range(rounds + 1)
                ]
                found[kind, name] = Recorded.median(each[1:])
    return found


def visits_of(study: Recorded, quiet_seconds: float) -> list[Visit]:
    """A study's way through one gateway, one PACS, and workers with hosts of their own."""
    link = 8e6 * study.size_mb / LINK_BITS_PER_SECOND
    waits = study.receive - study.listener - study.sync
    return [
        Visit(("network link",), link),
        Visit(("listener",), study.listener),
        Visit(("spool disk",), study.sync),
        Visit((), max(0.0, waits) + quiet_seconds + study.other),
        Visit(("database",), study.transacting),
        Visit(("workers",), study.job),
        Visit(("associations",), study.deliver),
    ]


def capacity_of(workers: int) -> dict[str, int]:
    """How many studies each resource serves at once."""
    return {
        "network link": 1,
        "listener": 1,
        "spool disk": 1,
        "database": DATABASE_PLACES,
        "workers": workers,
        "associations": ASSOCIATIONS,
    }


def recorded_table(found: dict[tuple[str, str], Recorded]) -> str:
    """What was measured."""
    names = {
        "images": "images", "size_mb": "MB", "receive": "receive, s",
        "listener": "the gateway's CPU for it", "sync": "its files written and synced",
        "transactions": "transactions", "transacting": "s in transactions", "job": "job, s",
        "stages": "of which reading and encoding", "deliver": "three deliveries, s",
        "other": "polls, headers, the rest, s", "rows": "rows in the ledger",
    }  # fmt: skip
    rows = [
        [text, *(f"{getattr(each, name):.4g}" for each in found.values())]
        for name, text in names.items()
    ]
    return table(["one study alone", *(f"{kind}, {on}" for kind, on in found)], rows)


def simulated_table(study: Recorded, kind: str, days: int) -> str:
    """Waits and fill by rate and workers."""
    visits, rows = visits_of(study, ASSUMED_QUIET_SECONDS), []
    for rate in RATES:
        for workers in WORKERS:
            capacity = capacity_of(workers)
            limit, first = limit_per_hour(visits, capacity)
            peak = {
                name: rate * PEAK * seconds / 3600 / capacity[name]
                for name, seconds in demands(visits).items()
            }
            run = _days(visits, capacity, rate, days)
            waits = f"{run.wait('workers', 50):.0f}, {run.wait('workers', 95):.0f}"
            filled = ", ".join(f"{name} {peak[name]:.0%}" for name in capacity)
            ends = f"{np.percentile(run.sojourns, 95) / 60:.1f}"
            rows.append(
                [str(rate), str(workers), waits, ends, filled, f"{first}, at {limit:.0f} an hour"]
            )
    header = [f"{kind}: studies an hour", "workers", "wait for a worker, median and 95th, s",
              "95th of the whole, min", "fill in the busiest hour", "full first"]  # fmt: skip
    return table(header, rows)


def _days(visits: Sequence[Visit], capacity: dict[str, int], rate: float, days: int) -> Run:
    arrivals: list[float] = []
    random = np.random.default_rng(1)
    for day in range(days):
        arrivals += [86_400.0 * day + each for each in working_day(rate, random)]
    return simulate(arrivals, lambda _: visits, capacity)


def national_table(found: dict[tuple[str, str], Recorded]) -> str:
    """What a country needs whose every study were such a one."""
    quiet_days = (365 - WORKING_DAYS) * QUIET_SHARE
    a_day = STUDIES_A_YEAR / (WORKING_DAYS + quiet_days)
    peak = a_day / 24 * PEAK
    rows = []
    for kind in WRITERS:
        study = found[kind, "PostgreSQL"]
        at_once = {
            "gateways, by the CPU of receiving": study.listener,
            "disks that sync as this one": study.sync,
            "connections busy in the database": study.transacting,
            "workers of one core": study.job,
            "associations to PACS": study.deliver,
        }
        figures = {
            "studies in the busiest hour": f"{peak:.0f}",
            "images a second in that hour": f"{peak * study.images / 3600:.0f}",
            "Gbit/s in that hour": f"{peak * study.size_mb * 8 / 3600 / 1000:.2f}",
            **{
                f"{name}, {MOST_FILL:.0%} full": f"{np.ceil(peak * each / 3600 / MOST_FILL):.0f}"
                for name, each in at_once.items()
            },
            "million rows a day in the ledger": f"{a_day * study.rows / 1e6:.1f}",
            "transactions a second in that hour": f"{peak * study.transactions / 3600:.0f}",
            f"TB of images for {KEPT_DAYS} days": f"{a_day * study.size_mb * KEPT_DAYS / 1e6:.1f}",
        }
        rows.append(figures)
    return table(
        [f"{STUDIES_A_YEAR / 1e6:.0f} million studies a year", *WRITERS],
        [[name, *(each[name] for each in rows)] for name in rows[0]],
    )


def validated(folder: Path, postgres: PostgresServer, study: Recorded, count: int) -> str:
    """Real studies at the times of a simulation, with one worker and with two."""
    cores = os.cpu_count() or 1
    rate = 1.2 * 3600.0 / study.job
    arrivals = poisson(rate, count, np.random.default_rng(2))
    rows = []
    for workers in (1, 2):
        name = f"{workers} workers"
        with running_site(folder / name, postgres.new_database(), workers) as site:
            record(site, folder / f"{name} first", HEAD)
            waits, took = _real(site, folder / f"{name} studies", arrivals)
        run = simulate(arrivals, lambda _: _on_one_host(study), _host(workers, cores))
        pairs = {
            "studies an hour": (3600 * count / run.ended, 3600 * count / took),
            "mean wait for a worker, s": (
                statistics.mean(run.waits["workers"]), statistics.mean(waits)),
        }  # fmt: skip
        rows += [
            [str(workers), what, f"{simulated:.1f}", f"{real:.1f}", f"{real / simulated:.2f}"]
            for what, (simulated, real) in pairs.items()
        ]
    return table(
        ["workers", f"{count} heads, {rate:.0f} an hour", "simulated", "real", "ratio"], rows
    )


def _real(site: Site, folder: Path, arrivals: Sequence[float]) -> tuple[list[float], float]:
    """Seconds that each job waited for a worker, and those from the start to the last delivery."""
    folder.mkdir()
    studies = [write_study(folder / str(number), HEAD) for number in range(len(arrivals))]
    started = time.time()
    for at, (_, paths) in zip(arrivals, studies, strict=True):
        time.sleep(max(0.0, started + at - time.time()))
        seconds_to_send(paths, 1, site.port, "WETREAD")
    done = [site.delivered(study) for study, _ in studies]
    ended = max(each.delivered_at or 0.0 for _, objects in done for each in objects)
    return [(job.started_at or 0.0) - job.created_at for job, _ in done], ended - started


def _on_one_host(study: Recorded) -> list[Visit]:
    """Everything shares this machine's cores; images come one study after the other."""
    return [
        Visit(("sender", "cores"), study.receive),
        Visit((), QUIET_SECONDS + study.other),
        Visit(("workers", "cores"), study.job),
        Visit(("associations", "cores"), study.deliver),
    ]


def _host(workers: int, cores: int) -> dict[str, int]:
    return {"sender": 1, "workers": workers, "associations": ASSOCIATIONS, "cores": cores}


def report(folder: Path, rounds: int) -> Iterator[str]:
    """The tables, as Markdown, each as soon as it is there."""
    for bundle in (BUNDLE, SMALL_BUNDLE):
        build_models(bundle, NETWORKS, no_progress)
    yield f"Load of the machine before: {os.getloadavg()[0]:.1f}."
    with running_postgres() as postgres:
        found = recordings(folder, postgres, rounds)
        yield recorded_table(found)
        yield national_table(found)
        for kind in WRITERS:
            yield simulated_table(found[kind, "PostgreSQL"], kind, days=1)
        yield f"Load before the comparison: {os.getloadavg()[0]:.1f}."
        yield validated(folder, postgres, found[HEAD, "PostgreSQL"], 4 * rounds)


def main() -> None:
    """Three rounds of each, with --quick one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="1 round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in report(Path(folder), 1 if options.quick else 3):
            print(f"{part}\n", flush=True)


if __name__ == "__main__":
    main()

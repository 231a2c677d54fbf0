"""How long a head takes through the whole loop, stage by stage, and how much memory that needs.

    python tests/benchmarks/loop.py [--quick]

`wetread serve` runs as a process of its own with the brain bundle on all cores; dcmtk's storescp
stands for the PACS. Each round sends a new study by C-STORE and waits for its SEG, SR and SC. The
first one also opens and compiles the networks. Stages are the gateway's own figures, from its
ledger; "other" is what remains between the last image answered and the last object stored, less
the quiet time: waiting for the queue, the ledger, the network.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.head import BUNDLE, NETWORKS, write_head
from benchmarks.tables import cell, run_alone, table
from gateway import CALLER, eventually, send
from network import neighbours
from readings import BIN
from wetread.dicom.files import find_instances
from wetread.infer.base import no_progress
from wetread.ledger import DeliveryState, JobState, Ledger
from wetread.models.export import build_models

QUIET_SECONDS = 1.0
STAGES = ("load", "preprocess", "forward", "postprocess", "encode", "other")
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Round:
    """Seconds by stage of one study."""

    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def not_forward(self) -> float:
        return self.total - self.seconds["forward"]


def write_config(folder: Path, port: int, pacs_port: int) -> Path:
    """The settings of the measured gateway."""
    text = f"""
model_repository = "{NETWORKS}"
[listener]
host = "127.0.0.1"
port = {port}
accept_calling_ae_titles = ["{CALLER}"]
[spool]
path = "{folder / "spool"}"
min_free_bytes = 0
[web]
enabled = false
[assembly]
series_quiet_seconds = {QUIET_SECONDS}
[models.brain_mr]
bundle = "{BUNDLE}"
[destinations.pacs]
kind = "dicom"
host = "127.0.0.1"
port = {pacs_port}
called_ae_title = "DCMTK"
[[rules]]
name = "head"
when.modality = "MR"
run = ["brain_mr"]
send_results_to = ["pacs"]
"""
    path = folder / "wetread.toml"
    path.write_text(text, encoding="utf-8")
    return path


def one_round(folder: Path, port: int, ledger: Ledger) -> Round:
    """Send a new study, wait for its three objects, and ask the ledger."""
    folder.mkdir()
    head = write_head(folder)
    instances = find_instances(head)
    send([each.path for each in instances], port)
    sent = time.time()
    study = instances[0].study_instance_uid

    def delivered() -> float | None:
        jobs = ledger.jobs.list(study=study)
        if any(job.state == JobState.FAILED for job in jobs):
            raise SystemExit(f"the job failed: {jobs[0].failure}")
        if not jobs or jobs[0].state != JobState.DONE:
            return None
        objects = ledger.deliveries.list(job_id=jobs[0].job_id)
        done = len(objects) == 3 and all(each.state == DeliveryState.DELIVERED for each in objects)
        return max(each.delivered_at or 0.0 for each in objects) if done else None

    ended = eventually(delivered, seconds=PATIENCE_SECONDS)
    seconds = dict(ledger.jobs.list(study=study)[0].seconds)
    seconds["other"] = ended - sent - QUIET_SECONDS - sum(seconds.values())
    return Round(seconds)


def peak_memory_gb(pid: int) -> float:
    """The most memory that a process has held (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e6
    raise SystemExit("the system does not say how much memory the gateway held")


def report(folder: Path, rounds: int) -> str:
    """The table, as Markdown."""
    build_models(BUNDLE, NETWORKS, no_progress)
    port = neighbours.free_port()
    with neighbours.dcmtk_storescp(folder) as pacs:
        config = write_config(folder, port, pacs.port)
        command = [BIN / "wetread", "serve", "--config", config]
        with neighbours.running(command, folder / "log", port, seconds=60) as pid:
            ledger = Ledger(f"sqlite:///{folder / 'spool/ledger.sqlite3'}")
            found = [one_round(folder / str(each), port, ledger) for each in range(rounds + 1)]
            memory = peak_memory_gb(pid)
            ledger.close()
    return _table(found[0], found[1:], memory)


def _table(first: Round, later: Sequence[Round], memory_gb: float) -> str:
    rows = [
        [stage, f"{first.seconds[stage]:.2f}", cell([each.seconds[stage] for each in later])]
        for stage in STAGES
    ]
    for name in ("not_forward", "total"):
        values = [getattr(each, name) for each in later]
        rows.append([name.replace("_", " "), f"{getattr(first, name):.2f}", cell(values)])
    share = statistics.median(each.not_forward / each.total for each in later)
    header = ["MR head, 180 × 256 × 256", "first study, seconds", "later studies, seconds"]
    return (
        f"{table(header, rows)}\n\n"
        f"Not the networks' forward pass: {share:.0%}. Peak memory: {memory_gb:.2f} GB."
    )


if __name__ == "__main__":
    run_alone(report, __doc__ or "")

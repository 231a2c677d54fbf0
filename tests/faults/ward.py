"""A PACS, processes of wetread that can be killed, and senders that do not give up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread

from faults.killing import KillableGateway, PersistentSender
from gateway import CALLER, ReceivingAE, eventually, settings
from network.neighbours import data_set_bytes, free_port
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from wetread.config import Config
from wetread.errors import LedgerError
from wetread.ledger import DeliveryState, JobState, Ledger, StudyState, ledger_url

IMAGES = 6
DELIVERED = "3 of 3 delivered"


@dataclass
class Found:
    """What a ward has in the end, counted."""

    images: int = 0
    lost_images: int = 0
    studies: int = 0
    missing_results: int = 0
    doubled_results: int = 0
    repeated_sends: int = 0
    changed_sends: int = 0

    @property
    def is_whole(self) -> bool:
        """Nothing is lost, doubled or changed."""
        faults = (self.lost_images, self.missing_results, self.doubled_results, self.changed_sends)
        return not any(faults)

    def add(self, other: Found) -> None:
        """Count the other's too."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Ward:
    """The first process is the gateway, further ones are workers without doors."""

    folder: Path
    config: Config
    pacs: ReceivingAE
    processes: list[KillableGateway]
    ledger: Ledger
    port: int
    studies: list[PhantomSeries] = field(default_factory=list)
    senders: list[PersistentSender] = field(default_factory=list)

    def process(self, pid: int) -> KillableGateway:
        """The one of that process id."""
        [found] = [each for each in self.processes if each.runs and each.pid == pid]
        return found

    @property
    def gateway(self) -> KillableGateway:
        return self.processes[0]

    def another_gateway(self) -> int:
        """One more gateway; gives its port."""
        listener = self.config.listener.model_copy(update={"port": free_port()})
        config = self.config.model_copy(update={"listener": listener})
        source = self.folder / "wetread.toml"
        self.processes.append(KillableGateway(config, source, name="second"))
        return listener.port

    def start(self) -> None:
        """Start every process that does not run."""
        for process in self.processes:
            if not process.runs:
                process.start()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def send_a_study(self) -> PhantomSeries:
        """Begin to send a new study; its sender goes on until all of it was taken."""
        name = f"study{len(self.studies)}"
        study = write_series(self.folder / name, shape=(IMAGES, 16, 16), seed=name)
        sender = PersistentSender(study.paths, self.port)
        self.studies.append(study)
        self.senders.append(sender)
        sender.start()
        return study

    def read_a_study(self) -> float:
        """The seconds from open doors to the last delivery, if nobody kills anything."""
        self.start()
        study = self.send_a_study()
        self.gateway.wait_until_it_listens()
        started = time.monotonic()
        self.wait_for(study, DELIVERED)
        return time.monotonic() - started

    def stage(self, study: PhantomSeries) -> str:
        """How far the ledger says that a study came."""
        try:
            state = self.ledger.studies.get(study.study_instance_uid).state
        except LedgerError:
            return "nothing received"
        jobs = self.ledger.jobs.list(study=study.study_instance_uid)
        if not jobs:
            return str(state)
        if jobs[0].state != JobState.DONE:
            return f"job {jobs[0].state}"
        deliveries = self.ledger.deliveries.list(job_id=jobs[0].job_id)
        done = sum(each.state == DeliveryState.DELIVERED for each in deliveries)
        return f"{done} of {len(deliveries)} delivered"

    def wait_for(self, study: PhantomSeries, stage: str, seconds: float = 100) -> None:
        """Until the ledger says that it came so far; else tell what the processes said last."""
        try:
            eventually(lambda: self.stage(study) == stage, seconds=seconds)
        except AssertionError as error:
            for process in self.processes:
                said = process.log.read_text(encoding="utf-8") if process.log.exists() else ""
                error.add_note(f"{process.name}: {said[-2000:]}")
            error.add_note(f"wanted {stage!r}, it is {self.stage(study)!r}")
            raise

    def starts(self, study: PhantomSeries) -> int:
        """How often somebody began to read it."""
        history = self.ledger.studies.history(study.study_instance_uid)
        return sum(" starts" in each.event for each in history)

    def result_files(self, study: PhantomSeries) -> Iterator[Path]:
        """What its jobs have written to the spool."""
        for job in self.ledger.jobs.list(study=study.study_instance_uid):
            yield from (self.folder / "spool/results" / job.job_id).glob("*.dcm")

    def finish(self, seconds: float = 120) -> None:
        """Run without kills until every study was taken, read and delivered."""
        waiting = list(self.studies)

        def all_done() -> bool:
            # As systemd does with one that ended because it was taken for dead.
            self.start()
            while waiting and self.stage(waiting[0]) == DELIVERED:
                waiting.pop(0)
            return not waiting

        eventually(all_done, seconds=seconds)
        assert not any(sender.waiting for sender in self.senders)
        self.kill()

    def count(self) -> Found:
        """What is here of every study whose images were all acknowledged."""
        found = Found(studies=len(self.studies))
        for study in self.studies:
            found.images += len(study.paths)
            found.lost_images += self._lost_images(study)
        contents: dict[str, set[str]] = {}
        for uid, sha256 in self.pacs.stores:
            contents.setdefault(uid, set()).add(sha256)
        found.changed_sends = sum(len(different) - 1 for different in contents.values())
        found.repeated_sends = len(self.pacs.stores) - len(contents)
        kept = [dcmread(path, stop_before_pixels=True) for path in self.pacs.files.values()]
        there = Counter((str(each.StudyInstanceUID), str(each.Modality)) for each in kept)
        for study in self.studies:
            for modality in ("SEG", "SR", "OT"):
                times = there[study.study_instance_uid, modality]
                found.missing_results += times == 0
                found.doubled_results += max(0, times - 1)
        return found

    def _lost_images(self, study: PhantomSeries) -> int:
        here = {
            data_set_bytes(each.path)
            for each in self.ledger.studies.instances_of(study.study_instance_uid, 1)
            if each.path.is_file()
        }
        return len({data_set_bytes(path) for path in study.paths} - here)

    def check(self) -> None:
        """Each study has one job and, at the destination, one SEG, one SR and one SC."""
        for study in self.studies:
            record = self.ledger.studies.get(study.study_instance_uid)
            assert (record.generation, record.state) == (1, StudyState.ROUTED)
            (job,) = self.ledger.jobs.list(study=study.study_instance_uid)
            assert (job.attempt, job.state) == (1, JobState.DONE)
        found = self.count()
        assert found.is_whole, found


def ward_settings(
    folder: Path,
    tiny: TinyModel,
    pacs: ReceivingAE,
    database: str,
    at_once: int = 2,
    **changes: Any,
) -> Config:
    """A gateway on a port of its own, quick to take over what the dead leave."""
    return settings(
        folder,
        tiny,
        {"pacs": {**pacs.destination, "first_retry_seconds": 0.2, "max_concurrent": at_once}},
        **{
            "listener": {"port": free_port(), "accept_calling_ae_titles": [CALLER]},
            "web": {"enabled": False},
            "assembly": {"series_quiet_seconds": 1.5},
            "database": {"url": database},
            # Longer than a busy machine lets a process wait.
            "workers": {"lease_seconds": 5.0},
            # However often a kill comes into the same reading.
            "models": {"tiny": {"bundle": str(tiny.bundle), "max_attempts": 1000}},
            **changes,
        },
    )


@contextmanager
def ward_in(
    folder: Path,
    tiny: TinyModel,
    *,
    database: str = "",
    workers: Sequence[str] = (),
    gateway_jobs: int = 1,
    **changes: Any,
) -> Iterator[Ward]:
    """A ward with a gateway and such workers; none is started, and all are killed in the end."""
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    with ReceivingAE(folder / "pacs") as pacs:
        config = ward_settings(folder, tiny, pacs, database, **changes)
        source = folder / "wetread.toml"
        processes = [
            KillableGateway(config, source, jobs=gateway_jobs),
            *(KillableGateway(config, source, name=each, doors=False) for each in workers),
        ]
        with closing(Ledger(ledger_url(config))) as ledger:
            ward = Ward(folder, config, pacs, processes, ledger, config.listener.port)
            try:
                yield ward
            finally:
                ward.kill()
                for sender in ward.senders:
                    sender.waiting.clear()

"""A gateway that is killed at any moment, started again, ends with one result of each study."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import dcmread

from faults.killing import KillableGateway, PersistentSender
from gateway import ReceivingAE, eventually, settings
from network.neighbours import free_port
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from wetread.ledger import DeliveryState, JobState, Ledger, StudyState, ledger_url

KILLS = 30
IMAGES = 6


@dataclass
class Ward:
    """A PACS, a gateway that can be killed, and the senders of every study so far."""

    folder: Path
    pacs: ReceivingAE
    gateway: KillableGateway
    ledger: Ledger
    port: int
    studies: list[PhantomSeries] = field(default_factory=list)
    senders: list[PersistentSender] = field(default_factory=list)

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
        self.gateway.start()
        self.send_a_study()
        self.gateway.wait_until_it_listens()
        started = time.monotonic()
        eventually(self._all_done, seconds=60)
        self.gateway.kill()
        return time.monotonic() - started

    def stage(self, study: PhantomSeries) -> str:
        """How far the ledger says that a study came."""
        known = {each.study_instance_uid for each in self.ledger.studies.newest(1000)}
        if study.study_instance_uid not in known:
            return "nothing received"
        state = self.ledger.studies.get(study.study_instance_uid).state
        jobs = self.ledger.jobs.list(study=study.study_instance_uid)
        if not jobs:
            return str(state)
        if jobs[0].state != JobState.DONE:
            return f"job {jobs[0].state}"
        deliveries = self.ledger.deliveries.list(job_id=jobs[0].job_id)
        done = sum(each.state == DeliveryState.DELIVERED for each in deliveries)
        return f"{done} of {len(deliveries)} delivered"

    def result_files(self) -> Iterator[Path]:
        return (self.folder / "spool/results").glob("*/*.dcm")

    def finish(self) -> None:
        """Run without kills until every study was taken, read and delivered."""
        self.gateway.start()
        for sender in self.senders:
            sender.join(60)
            assert sender.waiting == []
        eventually(self._all_done, seconds=120)
        self.gateway.kill()

    def _all_done(self) -> bool:
        return all(self.stage(study) == "3 of 3 delivered" for study in self.studies)

    def check(self) -> None:
        """Each study has one job and, at the destination, one SEG, one SR and one SC."""
        for study in self.studies:
            self._check_ledger(study.study_instance_uid)
        contents: dict[str, set[str]] = {}
        for uid, sha256 in self.pacs.stores:
            contents.setdefault(uid, set()).add(sha256)
        assert {len(different) for different in contents.values()} == {1}
        kept = [dcmread(path, stop_before_pixels=True) for path in self.pacs.files.values()]
        found = Counter((str(each.StudyInstanceUID), str(each.Modality)) for each in kept)
        wanted = {
            (study.study_instance_uid, modality)
            for study in self.studies
            for modality in ("SEG", "SR", "OT")
        }
        assert found == Counter(wanted)

    def _check_ledger(self, study: str) -> None:
        record = self.ledger.studies.get(study)
        assert (record.generation, record.state) == (1, StudyState.ROUTED)
        assert len(self.ledger.studies.instances_of(study, 1)) == IMAGES
        (job,) = self.ledger.jobs.list(study=study)
        assert (job.attempt, job.state) == (1, JobState.DONE)


@contextmanager
def ward_in(folder: Path, tiny: TinyModel, pacs: ReceivingAE) -> Iterator[Ward]:
    """A ward; its gateway is not started, and killed in the end if it runs."""
    port = free_port()
    config = settings(
        folder,
        tiny,
        {"pacs": {**pacs.destination, "first_retry_seconds": 0.2}},
        listener={"port": port, "host": "127.0.0.1", "accept_calling_ae_titles": ["CT_ROOM1"]},
        assembly={"series_quiet_seconds": 1.0},
    )
    gateway = KillableGateway(config, folder / "wetread.toml")
    ledger = Ledger(ledger_url(config))
    try:
        yield Ward(folder, pacs, gateway, ledger, port)
    finally:
        gateway.kill()
        ledger.close()


@pytest.fixture
def ward(tmp_path: Path, tiny_ct: TinyModel) -> Iterator[Ward]:
    (tmp_path / "spool").mkdir()
    with ReceivingAE(tmp_path / "pacs") as pacs, ward_in(tmp_path, tiny_ct, pacs) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_random_kills_lose_nothing_and_double_nothing(ward: Ward) -> None:
    """Each kill comes at any time that a study takes, into whatever all studies so far are at."""
    moments = random.Random(20251125)  # noqa: S311 - no secret
    usual_seconds = ward.read_a_study()
    killed_at: list[str] = []
    for _ in range(KILLS):
        ward.gateway.start()
        study = ward.send_a_study()
        ward.gateway.wait_until_it_listens()
        ward.gateway.kill_after(moments.uniform(0.0, usual_seconds))
        killed_at.append(ward.stage(study))
    ward.finish()
    assert len(set(killed_at)) >= 3, killed_at
    ward.check()


Look = Callable[[Ward, PhantomSeries], bool]
MOMENTS: dict[str, Look] = {
    "images arrive": lambda ward, study: ward.stage(study) == "arriving",
    "the study is complete": lambda ward, study: ward.stage(study) == "complete",
    "the job runs": lambda ward, study: ward.stage(study) == "job running",
    "a result lies in the spool, the job still runs": lambda ward, _: any(ward.result_files()),
    "results wait for delivery": lambda ward, study: ward.stage(study) == "0 of 3 delivered",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_just_when(ward: Ward, moment: str) -> None:
    ward.gateway.start()
    study = ward.send_a_study()
    ward.gateway.kill_when(lambda: MOMENTS[moment](ward, study))
    ward.finish()
    ward.check()


@pytest.mark.timeout(120)
def test_an_object_that_was_sent_but_not_answered_is_sent_again_unchanged(ward: Ward) -> None:
    """The destination has the first object when the gateway dies, and gets it twice."""
    killed = threading.Event()

    def kill_once() -> None:
        if not killed.is_set():
            ward.gateway.kill()
            killed.set()

    ward.pacs.before_answering = kill_once
    ward.gateway.start()
    ward.send_a_study()
    assert killed.wait(60)
    ward.finish()
    ward.check()
    times = Counter(uid for uid, _ in ward.pacs.stores)
    assert times[ward.pacs.stores[0][0]] == 2

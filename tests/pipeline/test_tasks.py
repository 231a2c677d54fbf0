"""The pipeline's tasks one by one, in this thread: no queue, no socket, a clock that stands."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Clock
from gateway import settings
from phantom import RECEIVED_AT, PhantomSeries, received, write_series
from tiny_model import TinyModel
from wetread.deliver.base import DeliveryReceipt, Destination, MemoryDestination
from wetread.errors import InferenceUnavailableError
from wetread.infer.shelf import ModelShelf
from wetread.ledger import DeliveryState, JobState, Ledger
from wetread.pipeline import Pipeline, Rooms
from wetread.receive.assembly import Doors
from wetread.receive.spool import Spool
from wetread.tasks import Task

FOLDER = {"kind": "folder", "path": "/nowhere", "first_retry_seconds": 5.0, "max_attempts": 3}


@dataclass
class Workshop:
    """A pipeline with everything around it in reach."""

    pipeline: Pipeline
    ledger: Ledger
    clock: Clock
    destinations: Mapping[str, Destination]

    def receive(self, series: PhantomSeries) -> None:
        for instance in received(series).instances:
            sha256 = hashlib.sha256(instance.path.read_bytes()).hexdigest()
            self.ledger.studies.record_instance(instance, sha256=sha256, size_bytes=1)
        self.clock.now = RECEIVED_AT.timestamp() + 1000.0

    def due(self) -> list[Task]:
        return self.pipeline.due(self.clock())

    def run(self, task: Task) -> list[Task]:
        return self.pipeline.run(task.kind, task.subject, task.number)

    def run_all(self, times: int = 1) -> list[Task]:
        """Do what is due until nothing is, each task `times` times; gives them in order."""
        done: list[Task] = []
        while tasks := self.due():
            for task in tasks:
                done.append(task)
                for _ in range(times):
                    self.run(task)
        return done


@pytest.fixture
def make(tmp_path: Path, tiny_ct: TinyModel, ledger: Ledger, clock: Clock) -> Iterator[Any]:
    shelves: list[ModelShelf] = []

    def build(*destinations: Destination, limits: Mapping[str, int] | None = None) -> Workshop:
        by_name = {each.name: each for each in destinations}
        tables = {
            name: {**FOLDER, "max_concurrent": (limits or {}).get(name, 2)} for name in by_name
        }
        config = settings(tmp_path, tiny_ct, tables)
        shelves.append(ModelShelf(config.models, config.model_repository))
        spool = Spool(config.spool.path, 0)
        rooms = Rooms(config, ledger, spool, shelves[-1], by_name, Doors)
        return Workshop(Pipeline(rooms), ledger, clock, by_name)

    yield build
    for shelf in shelves:
        shelf.close()


@pytest.fixture
def series(tmp_path: Path) -> PhantomSeries:
    return write_series(tmp_path / "study", shape=(6, 16, 16))


def test_each_task_done_twice_changes_nothing(make: Any, series: PhantomSeries) -> None:
    memory = MemoryDestination()
    workshop = make(memory)
    workshop.receive(series)
    workshop.run_all(times=2)
    assert (memory.sends, len(memory.received)) == (3, 3)
    (job,) = workshop.ledger.jobs.list(study=series.study_instance_uid)
    assert (job.state, job.attempt) == (JobState.DONE, 1)


def test_a_task_says_what_follows_from_it(make: Any, series: PhantomSeries) -> None:
    workshop = make(MemoryDestination("left"), MemoryDestination("right"))
    workshop.receive(series)
    (study,) = workshop.due()
    (job,) = workshop.run(study)
    deliveries = workshop.run(job)
    assert sorted(task.lane for task in deliveries) == ["left"] * 3 + ["right"] * 3
    assert {task.key for task in workshop.due()} == {task.key for task in deliveries}


def test_a_job_cancelled_in_the_forward_sends_nothing(make: Any, series: PhantomSeries) -> None:
    memory = MemoryDestination()
    workshop = make(memory)
    workshop.receive(series)
    (study,) = workshop.due()
    (task,) = workshop.run(study)
    jobs = workshop.ledger.jobs
    tell = jobs.progress

    def cancel_in_the_forward(job: Any, stage: str, fraction: float) -> bool:
        if stage == "forward":
            jobs.cancel(job.job_id)
        return tell(job, stage, fraction)

    jobs.progress = cancel_in_the_forward
    assert workshop.run(task) == []
    assert jobs.get(task.subject).state == JobState.CANCELLED
    assert jobs.get(task.subject).stage == "forward"
    assert memory.sends == 0


def test_a_job_without_a_network_is_put_off_and_fails_in_the_end(
    make: Any, series: PhantomSeries
) -> None:
    """Six runs, each after a wait of at most 600 s; nothing is sent, and a person sees why."""
    memory = MemoryDestination()
    workshop = make(memory)
    workshop.receive(series)
    models = workshop.pipeline._rooms.models
    asked = []

    def is_out_of_reach(name: str) -> Any:
        asked.append(name)
        raise InferenceUnavailableError("grpc://gpu:8001: it cannot be reached", hint="start it")

    models.lend = is_out_of_reach
    workshop.run_all()
    assert len(asked) == 1
    (job,) = workshop.ledger.jobs.list()
    assert (job.state, job.failure.message) == (
        JobState.QUEUED,
        "grpc://gpu:8001: it cannot be reached",
    )
    for _ in range(5):
        assert workshop.due() == []
        workshop.clock.advance(600.0)
        workshop.run_all()
    (job,) = workshop.ledger.jobs.list()
    assert (len(asked), job.state, job.attempt, memory.sends) == (6, JobState.FAILED, 6, 0)


def test_a_job_that_was_put_off_is_read_once_its_network_is_back(
    make: Any, series: PhantomSeries
) -> None:
    memory = MemoryDestination()
    workshop = make(memory)
    workshop.receive(series)
    models = workshop.pipeline._rooms.models
    lend = models.lend
    models.lend = lambda name: (_ for _ in ()).throw(InferenceUnavailableError("gone"))
    workshop.run_all()
    models.lend = lend
    workshop.clock.advance(20.0)
    workshop.run_all()
    (job,) = workshop.ledger.jobs.list()
    assert (job.state, job.attempt, len(memory.received)) == (JobState.DONE, 2, 3)


def test_what_nobody_foresaw_is_a_dead_letter_that_names_it(
    make: Any, series: PhantomSeries
) -> None:
    memory = MemoryDestination(failures=3, error=lambda: ZeroDivisionError("by nothing"))
    workshop = make(memory)
    workshop.receive(series)
    workshop.run_all()
    letters = workshop.ledger.deliveries.list(state=DeliveryState.DEAD)
    assert len(letters) == 3
    assert {letter.failure.error for letter in letters} == {"ZeroDivisionError"}
    assert {letter.failure.message for letter in letters} == {
        "unexpected ZeroDivisionError: by nothing"
    }


def test_a_failed_try_is_due_again_after_its_wait(make: Any, series: PhantomSeries) -> None:
    """The first wait is from 5 s up to 10 s, the second up to 20 s."""
    memory = MemoryDestination(failures=6)
    workshop = make(memory)
    workshop.receive(series)
    workshop.run_all()
    assert memory.sends == 3
    workshop.clock.advance(4.9)
    assert workshop.due() == []
    workshop.clock.advance(5.1)
    workshop.run_all()
    assert memory.sends == 6
    workshop.clock.advance(20.0)
    workshop.run_all()
    assert (memory.sends, len(memory.received)) == (9, 3)
    assert {each.attempt for each in workshop.ledger.deliveries.list()} == {3}


class CountingDestination:
    """Takes its time, and knows how many sends were under way at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def send(self, object_path: Path) -> DeliveryReceipt:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.2)
        with self._lock:
            self._now -= 1
        return DeliveryReceipt(self.name, object_path.stem, "kept", "counted", 0.2)

    def test(self) -> str:
        return "counts"


def test_each_destination_has_its_own_limit(make: Any, series: PhantomSeries) -> None:
    one, three = CountingDestination("one"), CountingDestination("three")
    workshop = make(one, three, limits={"one": 1, "three": 3})
    workshop.receive(series)
    (study,) = workshop.due()
    (job,) = workshop.run(study)
    threads = [threading.Thread(target=workshop.run, args=(task,)) for task in workshop.run(job)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (one.most, three.most) == (1, 3)

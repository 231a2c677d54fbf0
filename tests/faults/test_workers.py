"""Several processes on one PostgreSQL: each study is read once; what one leaves, another does."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from faults.hindrances import readers, waiting
from faults.killing import KillableGateway
from faults.ward import DELIVERED, Ward, ward_in
from gateway import CALLER, eventually, send
from phantom import CT, PhantomSeries, write_series
from postgres import PostgresServer
from tiny_model import TinyModel
from wetread.dicom.network import Peer, open_association
from wetread.errors import ERROR_CODES, ConfigError, LeaseLostError

pytestmark = pytest.mark.timeout(180)


def times_sent(ward: Ward) -> set[int]:
    """How often the destination got each object."""
    return set(Counter(uid for uid, _ in ward.pacs.stores).values())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [("one",), ("one", "two")], ids=["two", "three"])
def test_each_study_is_read_once_and_each_object_sent_once(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer, workers: tuple[str, ...]
) -> None:
    """All start together, on an empty database."""
    with ward_in(tmp_path, tiny_ct, database=postgres.new_database(), workers=workers) as ward:
        ward.start()
        studies = [ward.send_a_study() for _ in range(3)]
        for study in studies:
            ward.wait_for(study, DELIVERED)
        assert {ward.starts(study) for study in studies} == {1}
        names = [each.name for each in ward.ledger.workers.alive()]
        assert sorted(names) == ["gateway", *workers]
        ward.kill()
        assert times_sent(ward) == {1}
        ward.check()


@contextmanager
def in_a_reading(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> Iterator[tuple[Ward, PhantomSeries, Path, KillableGateway]]:
    """A gateway and a worker, one of which reads a study until there is a `go` in the folder."""
    place = tmp_path / "model"
    tiny = waiting(tiny_ct, place)
    with ward_in(tmp_path, tiny, database=postgres.new_database(), workers=("one",)) as ward:
        ward.start()
        study = ward.send_a_study()
        [first] = eventually(lambda: readers(place), seconds=40)
        yield ward, study, place, ward.process(first)


def test_another_goes_on_when_a_worker_is_killed_under_a_reading(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    """It is not started again, and nobody asks for it."""
    with in_a_reading(tmp_path, tiny_ct, postgres) as (ward, study, place, reader):
        reader.kill()
        eventually(lambda: len(readers(place)) == 2, seconds=30)
        (place / "go").touch()
        ward.wait_for(study, DELIVERED)
        assert ward.starts(study) == 2
        assert times_sent(ward) == {1}
        ward.check()


def test_a_worker_that_was_paused_ends_and_does_nothing_twice(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    """It stands still in a reading; when it comes back, that has been read and delivered."""
    with in_a_reading(tmp_path, tiny_ct, postgres) as (ward, study, place, paused):
        paused.pause()
        (place / "go").touch()
        ward.wait_for(study, DELIVERED)
        files = {path: path.read_bytes() for path in ward.result_files(study)}
        history = ward.ledger.studies.history(study.study_instance_uid)
        paused.go_on()
        assert eventually(paused.exit_code, seconds=30) == ERROR_CODES[LeaseLostError].exit_code
        assert "was taken for dead" in paused.log.read_text(encoding="utf-8")
        assert {path: path.read_bytes() for path in ward.result_files(study)} == files
        assert ward.ledger.studies.history(study.study_instance_uid) == history
        assert times_sent(ward) == {1}
        ward.check()


def test_a_worker_that_was_paused_in_a_send_sends_nothing_more(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    """Its answer comes too late: the object that it had just sent is sent again, no other is."""
    sent, answer = threading.Event(), threading.Event()

    def wait_once() -> None:
        if not sent.is_set():
            sent.set()
            answer.wait(60)

    with ward_in(
        tmp_path, tiny_ct, database=postgres.new_database(), workers=("one",), at_once=1
    ) as ward:
        ward.pacs.before_answering = wait_once
        ward.gateway.start()
        study = ward.send_a_study()
        assert sent.wait(60)
        ward.gateway.pause()
        ward.processes[1].start()
        ward.wait_for(study, DELIVERED)
        answer.set()
        ward.gateway.go_on()
        code = eventually(ward.gateway.exit_code, seconds=30)
        assert code == ERROR_CODES[LeaseLostError].exit_code
        assert sorted(Counter(uid for uid, _ in ward.pacs.stores).values()) == [1, 1, 2]
        ward.check()


def test_a_second_process_of_a_name_is_refused(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    with ward_in(tmp_path, tiny_ct, database=postgres.new_database(), workers=("gateway",)) as ward:
        ward.gateway.start()
        ward.gateway.wait_until_it_listens()
        second = ward.processes[1]
        second.start()
        assert eventually(second.exit_code, seconds=30) == ERROR_CODES[ConfigError].exit_code
        said = second.log.read_text(encoding="utf-8")
        assert f"another wetread (process {ward.gateway.pid}) works as 'gateway'" in said
        study = ward.send_a_study()
        ward.wait_for(study, DELIVERED)


def test_a_gateway_that_reads_nothing_leaves_that_to_a_worker(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    place = tmp_path / "model"
    tiny = waiting(tiny_ct, place)
    (place / "go").touch()
    with ward_in(
        tmp_path,
        tiny,
        database=postgres.new_database(),
        workers=("one",),
        gateway_jobs=0,
    ) as ward:
        ward.gateway.start()
        study = ward.send_a_study()
        ward.wait_for(study, "job queued")
        ward.processes[1].start()
        ward.wait_for(study, DELIVERED)
        assert readers(place) == {ward.processes[1].pid}


def test_two_gateways_make_one_study(
    tmp_path: Path, tiny_ct: TinyModel, postgres: PostgresServer
) -> None:
    """Half of it comes through each; an association with one keeps the other waiting too."""
    with ward_in(tmp_path, tiny_ct, database=postgres.new_database()) as ward:
        other_port = ward.another_gateway()
        ward.start()
        for process in ward.processes:
            process.wait_until_it_listens()
        study = write_series(tmp_path / "study", shape=(6, 16, 16))
        peer = Peer("gateway", "127.0.0.1", ward.port, "WETREAD", CALLER)
        with open_association(peer, [(CT, [ExplicitVRLittleEndian])]) as association:
            for path in study.paths[:3]:
                assert association.send_c_store(path).get("Status") == 0
            # Three times as long as series have to be quiet.
            time.sleep(3)
            assert ward.stage(study) == "arriving"
            send(study.paths[3:], other_port)
        ward.studies.append(study)
        ward.wait_for(study, DELIVERED)
        ward.kill()
        ward.check()

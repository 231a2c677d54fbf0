"""The database is away, the disk is full, destinations fail: nothing is lost, all goes on after."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from faults.hindrances import readers, waiting
from faults.outages import answer_to, outlast
from faults.ward import ward_in
from gateway import Gateway, ReceivingAE, eventually, running_gateway, send, settings
from network.neighbours import ScriptedScp
from phantom import write_series
from postgres import running_postgres
from tiny_model import TinyModel
from wetread.ledger import DeliveryRecord, DeliveryState, JobState

pytestmark = pytest.mark.timeout(180)


@pytest.mark.slow
def test_a_database_that_is_away_for_a_while(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """Senders are answered A700; a gateway and a worker go on when it is back."""
    place = tmp_path / "model"
    with (
        running_postgres() as server,
        ward_in(
            tmp_path,
            waiting(tiny_ct, place),
            database=server.new_database(),
            workers=("one",),
        ) as ward,
    ):
        outlast(ward, server, place, seconds=7.0)


def test_a_gateway_stops_without_its_database(tmp_path: Path, tiny_ct: TinyModel) -> None:
    with running_postgres() as server:
        database = {"url": server.new_database()}
        with running_gateway(settings(tmp_path, tiny_ct, {}, database=database)):
            server.stop()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 32 MB."""
    if os.getuid() != 0:
        pytest.fail("a full disk is tried on a tmpfs, which only root may mount")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """A file that leaves no room at all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return ballast


def written(disk: Path) -> set[str]:
    """Names of image files, whole or not."""
    return {path.name for path in (disk / "spool").rglob("*") if path.suffix in (".dcm", ".part")}


def test_a_disk_that_is_full_loses_nothing_and_is_used_again_when_it_is_not(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    """It fills up under a reading; spool, ledger and tasks lie on it. Nobody starts anything."""
    place = tmp_path / "model"
    series = write_series(tmp_path / "one", shape=(6, 16, 16), seed="one")
    late = write_series(tmp_path / "two", shape=(6, 16, 16), seed="two")
    with small_disk(tmp_path / "disk") as disk, ReceivingAE(tmp_path / "pacs") as pacs:
        config = settings(disk, waiting(tiny_ct, place), {"pacs": pacs.destination})
        with running_gateway(config) as gateway:
            gateway.send(series.paths)
            eventually(lambda: readers(place))
            before = written(disk)
            ballast = fill(disk)
            port = gateway.service.listener.port
            assert {answer_to(path, port) for path in late.paths[:2]} == {0xA700}
            assert written(disk) == before
            (place / "go").touch()
            ballast.unlink()
            gateway.send(late.paths)
            for study in (series, late):
                job = gateway.job(study.study_instance_uid)
                assert job.state == JobState.DONE
                gateway.deliveries(job.job_id)
    assert len(pacs.files) == 6


def test_a_disk_that_is_full_when_the_results_come(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """They are written when there is room again."""
    place = tmp_path / "model"
    series = write_series(tmp_path / "one", shape=(6, 16, 16), seed="one")
    with small_disk(tmp_path / "disk") as disk, ReceivingAE(tmp_path / "pacs") as pacs:
        model = {"tiny": {"bundle": str(waiting(tiny_ct, place).bundle), "first_retry_seconds": 1}}
        config = settings(disk, tiny_ct, {"pacs": pacs.destination}, models=model)
        with running_gateway(config) as gateway:
            gateway.send(series.paths)
            eventually(lambda: readers(place))
            ballast = fill(disk)
            (place / "go").touch()
            # By then everything that wants to write has tried.
            time.sleep(3)
            ballast.unlink()
            done = eventually(
                lambda: gateway.service.ledger.jobs.list(state=JobState.DONE), seconds=60
            )
            gateway.deliveries(done[0].job_id, attempt=done[0].attempt)
    assert len(pacs.files) == 3


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_forty_senders_of_one_image_each_make_one_study(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_ct: TinyModel, kind: str
) -> None:
    """All at once, each on an association of its own; it is read once, from all of them."""
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else ""
    series = write_series(tmp_path / "study", shape=(40, 16, 16))
    with ReceivingAE(tmp_path / "pacs") as pacs:
        config = settings(
            tmp_path,
            tiny_ct,
            {"pacs": pacs.destination},
            database={"url": url},
            assembly={"series_quiet_seconds": 2.0},
        )
        with running_gateway(config) as gateway, ThreadPoolExecutor(40) as pool:
            port = gateway.service.listener.port
            list(pool.map(lambda path: send([path], port), series.paths))
            job = gateway.job(series.study_instance_uid)
            gateway.deliveries(job.job_id)
            studies = gateway.service.ledger.studies
            assert len(studies.instances_of(series.study_instance_uid, 1)) == 40
            assert studies.get(series.study_instance_uid).generation == 1


# What a destination answers first → what is said of that try, and where the delivery ends.
ANSWERS: dict[int | str, tuple[str, DeliveryState]] = {
    0xA700: ("A700: out of resources", DeliveryState.DELIVERED),
    0xC000: ("C000: cannot understand", DeliveryState.DEAD),
    0xB000: ("", DeliveryState.DELIVERED),
    0x0110: ("0110: processing failure", DeliveryState.DEAD),
    "silence": ("no answer", DeliveryState.DELIVERED),
    "abort": ("no answer", DeliveryState.DELIVERED),
}


def test_whatever_a_destination_answers_the_delivery_is_in_the_right_state(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    """Each fails once as it is told, then takes everything: what may pass is tried again."""
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    with ExitStack() as stack:
        destinations = {}
        for step in ANSWERS:
            scp = ScriptedScp(silence_seconds=5.0)
            scp.script = [step, 0x0000]
            port = stack.enter_context(scp.serving())
            destinations[f"to-{step}"] = {
                "kind": "dicom",
                "host": "127.0.0.1",
                "port": port,
                "called_ae_title": "SCRIPTED",
                "send": ["SEG"],
                "timeout_seconds": 2.5,
                "first_retry_seconds": 0.3,
                "max_retry_seconds": 0.5,
            }
        config = settings(tmp_path, tiny_ct, destinations)
        with running_gateway(config) as gateway:
            gateway.send(series.paths)
            job = gateway.job(series.study_instance_uid)
            found = eventually(lambda: all_ended(gateway, job.job_id), seconds=30)
            history = gateway.service.ledger.studies.history(series.study_instance_uid)
    said = [each.event for each in history if each.stage == "deliver"]
    for step, (words, state) in ANSWERS.items():
        name = f"to-{step}"
        assert found[name].state == state, name
        failures = [event for event in said if event.startswith(f"SEG to {name} failed")]
        assert any(words in event for event in failures) == bool(words), failures
    assert "coerced" in str(found[f"to-{0xB000}"].answer)


def all_ended(gateway: Gateway, job_id: str) -> dict[str, DeliveryRecord] | None:
    """The deliveries by destination, once none is to be tried again."""
    found = gateway.service.ledger.deliveries.list(job_id=job_id)
    if not found or any(each.state == DeliveryState.PENDING for each in found):
        return None
    return {each.destination: each for each in found}


def test_a_destination_that_never_answers_delays_no_other(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    """Twelve objects are with the living one before the silent one's first two have failed."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ReceivingAE(tmp_path / "pacs") as pacs:
        dead: dict[str, Any] = {
            "kind": "dicom",
            "host": "127.0.0.1",
            "port": silent.getsockname()[1],
            "called_ae_title": "NOBODY",
            "timeout_seconds": 60.0,
        }
        config = settings(tmp_path, tiny_ct, {"dead": dead, "pacs": pacs.destination})
        with running_gateway(config) as gateway:
            for number in range(4):
                study = write_series(
                    tmp_path / f"study{number}", shape=(6, 16, 16), seed=str(number)
                )
                gateway.send(study.paths)
            book = gateway.service.ledger.deliveries
            eventually(
                lambda: len(book.list(destination="pacs", state=DeliveryState.DELIVERED)) == 12,
                seconds=40,
            )
            assert {each.attempt for each in book.list(destination="dead")} == {0}
            silent.close()
    assert len(pacs.stores) == 12

"""A backup of a busy gateway is one that a new gateway goes on from."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway import CALLER, Gateway, ReceivingAE, eventually, running_gateway, send, settings
from network.neighbours import free_port, relayed
from phantom import write_series
from tiny_model import TinyModel
from unit.receive.finished import STUDY, Ward
from wetread import pipeline
from wetread.backup import back_up, restore
from wetread.config import Config, parse_config
from wetread.errors import ConfigError, InputError, StorageError
from wetread.ledger import DeliveryState, JobState, Ledger, StudyState
from wetread.receive.spool import Spool

pytestmark = pytest.mark.timeout(90)
SLOW_CALLER = "MR_ROOM2"


def config_for(folder: Path, tiny: TinyModel, port: int, spool: str, quiet: float) -> Config:
    pacs = {"kind": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "PACS"}
    return settings(
        folder,
        tiny,
        {"pacs": {**pacs, "first_retry_seconds": 0.3, "max_retry_seconds": 0.5}},
        spool={"path": str(folder / spool), "min_free_bytes": 0},
        listener={"port": 0, "accept_calling_ae_titles": [CALLER, SLOW_CALLER]},
        assembly={
            "series_quiet_seconds": 0.3,
            "callers": {SLOW_CALLER: {"series_quiet_seconds": quiet, "study_quiet_seconds": quiet}},
        },
    )


def test_a_gateway_goes_on_from_the_backup_of_another(
    tmp_path: Path, tiny_ct: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One study was read and not delivered, one was being read, one was still arriving."""
    read, reading, arriving = (
        write_series(tmp_path / name, shape=(6, 16, 16), seed=name) for name in ("a", "b", "c")
    )
    port = free_port()
    go_on = threading.Event()
    really = pipeline.read_series_with

    def hold(model: Any, series: Any, context: Any, progress: Any) -> Any:
        if series.study_instance_uid == reading.study_instance_uid:
            assert go_on.wait(60)
        return really(model, series, context, progress)

    monkeypatch.setattr(pipeline, "read_series_with", hold)
    with running_gateway(config_for(tmp_path, tiny_ct, port, "spool", 600.0)) as first:
        first.send(read.paths)
        job = first.job(read.study_instance_uid)
        first.deliveries(job.job_id, DeliveryState.PENDING)
        first.send(reading.paths)
        first.job(reading.study_instance_uid, JobState.RUNNING)
        send(arriving.paths, first.service.listener.port, SLOW_CALLER)
        made = back_up(first.service.config, tmp_path / "backup")
        go_on.set()
    assert (made.images, made.results, made.missing) == (18, 3, ())
    written = {each.sop_instance_uid for each in results_in(tmp_path / "backup", job.job_id)}
    config = config_for(tmp_path, tiny_ct, port, "other/spool", 0.3)
    restore(config, tmp_path / "backup")
    with (
        ReceivingAE(tmp_path / "pacs") as pacs,
        relayed(port, pacs.destination["port"]),
        running_gateway(config) as second,
    ):
        for series in (read, reading, arriving):
            assert_delivered(second, series.study_instance_uid)
        history = second.service.ledger.studies.history(reading.study_instance_uid)
    assert len(pacs.files) == 9
    assert written <= set(pacs.files)
    assert "attempt 1 runs again after a restore" in [each.event for each in history]


def results_in(backup: Path, job_id: str) -> Any:
    with closing(Ledger(f"sqlite:///{backup / 'ledger.sqlite3'}")) as ledger:
        return ledger.jobs.results_of(job_id)


def assert_delivered(gateway: Gateway, study: str) -> None:
    eventually(lambda: gateway.service.ledger.studies.get(study).state == StudyState.ROUTED)
    assert len(gateway.deliveries(gateway.job(study).job_id)) == 3


@pytest.fixture
def ward(tmp_path: Path, clock: Any) -> Any:
    spool = Spool(tmp_path / "spool", 0)
    with closing(Ledger(f"sqlite:///{tmp_path / 'spool/ledger.sqlite3'}", clock)) as ledger:
        yield Ward(spool, ledger, clock)


def elsewhere(folder: Path) -> Config:
    return parse_config({"spool": {"path": str(folder / "restored")}})


def test_every_file_and_path_is_where_the_settings_say(ward: Ward, tmp_path: Path) -> None:
    ward.finish()
    back_up(ward.config(), tmp_path / "backup")
    restore(elsewhere(tmp_path), tmp_path / "backup")
    place = tmp_path / "restored"
    with closing(Ledger(f"sqlite:///{place / 'ledger.sqlite3'}")) as ledger:
        images, results = ledger.copies.spooled_paths()
        [delivery] = ledger.deliveries.list()
    files = {path.relative_to(place) for path in place.rglob("*.dcm")}
    assert files == {path.relative_to(ward.spool.path) for path in ward.files()}
    assert {path.relative_to(place) for path in (*images, *results)} == files
    assert delivery.path == results[0]
    for name in files:
        assert (place / name).read_bytes() == (ward.spool.path / name).read_bytes()


def test_a_backup_can_be_checked_with_a_tool_that_everybody_has(ward: Ward, tmp_path: Path) -> None:
    ward.finish()
    back_up(ward.config(), tmp_path / "backup")
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path / "backup", capture_output=True, check=False)
    assert done.returncode == 0, done
    assert done.stdout.count(b": OK") == 4


def test_nothing_is_removed_while_it_is_copied(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.finish()
    ward.clock.advance(1e6)
    keeper = ward.retention(keep_days=1)
    copied = Ledger.close
    tried = []

    def meanwhile(ledger: Ledger) -> None:
        if ledger is not ward.ledger:
            tried.append(list(keeper.remove_expired()))
        copied(ledger)

    monkeypatch.setattr(Ledger, "close", meanwhile)
    made = back_up(ward.config(), tmp_path / "backup")
    assert tried == [[]]
    assert made.missing == ()
    assert len(list(keeper.remove_expired())) == 1


def test_what_was_removed_is_not_missed(ward: Ward, tmp_path: Path) -> None:
    ward.finish()
    ward.clock.advance(1e6)
    list(ward.retention(keep_days=1).remove_expired())
    made = back_up(ward.config(), tmp_path / "backup")
    assert (made.images, made.results, made.missing) == (0, 0, ())


def test_a_file_that_somebody_took_away_is_told(ward: Ward, tmp_path: Path) -> None:
    lost, *_ = ward.finish()
    lost.path.unlink()
    made = back_up(ward.config(), tmp_path / "backup")
    assert made.missing == (str(lost.path),)
    assert json.loads((tmp_path / "backup/backup.json").read_text())["missing"] == [str(lost.path)]
    assert restore(elsewhere(tmp_path), tmp_path / "backup").missing == made.missing


def test_a_place_that_is_not_empty_is_left_alone(ward: Ward, tmp_path: Path) -> None:
    ward.finish()
    back_up(ward.config(), tmp_path / "backup")
    before = ward.files()
    with pytest.raises(ConfigError, match="spool is not empty"):
        restore(ward.config(), tmp_path / "backup")
    with pytest.raises(ConfigError, match="backup is not empty"):
        back_up(ward.config(), tmp_path / "backup")
    assert ward.files() == before


def test_a_backup_that_was_cut_short_is_not_there(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.finish()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "disk"))

    with monkeypatch.context() as patched:
        patched.setattr("wetread.backup._copy", full)
        with pytest.raises(StorageError, match="disk: No space left on device"):
            back_up(ward.config(), tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


def test_a_changed_file_is_not_restored(ward: Ward, tmp_path: Path) -> None:
    image, *_ = ward.finish()
    back_up(ward.config(), tmp_path / "backup")
    copy = tmp_path / "backup/spool" / image.path.relative_to(ward.spool.path)
    assert (
        hashlib.sha256(copy.read_bytes()).hexdigest()
        in (tmp_path / "backup/SHA256SUMS").read_text()
    )
    copy.write_bytes(b"other")
    with pytest.raises(InputError, match="is not what was backed up"):
        restore(elsewhere(tmp_path), tmp_path / "backup")
    assert not (tmp_path / "restored/ledger.sqlite3").exists()


@pytest.mark.parametrize("line", ["0  /etc/passwd", "0  spool/../../x", "nothing"])
def test_what_is_no_backup_is_refused(ward: Ward, tmp_path: Path, line: str) -> None:
    ward.receive(STUDY, images=1)
    back_up(ward.config(), tmp_path / "backup")
    (tmp_path / "backup/SHA256SUMS").write_text(line)
    with pytest.raises(InputError, match="is no backup that this wetread reads"):
        restore(elsewhere(tmp_path), tmp_path / "backup")
    with pytest.raises(InputError, match="is no backup"):
        restore(elsewhere(tmp_path), tmp_path)
    assert not (tmp_path / "restored").exists()


def test_a_ledger_in_postgresql_has_backups_of_its_own(tmp_path: Path) -> None:
    config = parse_config({"database": {"url": "postgresql://somewhere/wetread"}})
    with pytest.raises(ConfigError, match="in PostgreSQL") as caught:
        back_up(config, tmp_path / "backup")
    assert "dump the database first" in caught.value.hint

"""The bucket behind the spool, on a real S3 API: every file is there before anybody knows of it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import Clock
from network.neighbours import free_port
from s3 import S3Server, running_s3
from unit.receive.finished import STUDY, Ward, data_set
from wetread.config import ShareConfig, parse_config
from wetread.errors import ConfigError, ShareAwayError, StorageError, codes_for
from wetread.ledger import Ledger
from wetread.receive.accept import Arrival, Intake
from wetread.receive.retention import DAY_SECONDS
from wetread.receive.share import Share, open_share
from wetread.receive.spool import Spool, SpooledFile
from wetread.study import ReceivedInstance

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@dataclass
class Machine:
    """One with a disk of its own, and the bucket that it shares."""

    spool: Spool
    share: Share

    def accept(self, content: bytes, record: Any = lambda *_: None) -> ReceivedInstance:
        """As a door takes instance 1.2.3.1.0 in."""
        arrival = Arrival("CT_ROOM1", "WETREAD", EXPLICIT, CT, f"{STUDY}.1.0")
        with self.spool.new_body() as body:
            body.write(content)
            return Intake(self.spool, record).accept(body, arrival)

    def place(self, path: Path, of: Machine) -> Path:
        """The same file of the spool on this machine."""
        return self.spool.path / path.relative_to(of.spool.path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def bucket(server: S3Server) -> S3Server:
    server.empty()
    return server


def machine(folder: Path, server: S3Server, **changes: Any) -> Machine:
    secret = folder / "secret"
    folder.mkdir(exist_ok=True)
    secret.write_text("letmein\n", encoding="ascii")
    settings = server.settings(secret_key_file=secret, **changes)
    share = Share(ShareConfig.model_validate(settings), folder / "spool")
    return Machine(Spool(folder / "spool", 0, share=share), share)


@pytest.fixture
def here(tmp_path: Path, bucket: S3Server) -> Machine:
    return machine(tmp_path / "here", bucket)


@pytest.fixture
def there(tmp_path: Path, bucket: S3Server) -> Machine:
    return machine(tmp_path / "there", bucket)


def test_an_image_is_in_the_bucket_before_the_ledger_knows_it(
    here: Machine, bucket: S3Server
) -> None:
    seen: list[bytes] = []

    def record(instance: ReceivedInstance, spooled: SpooledFile) -> None:
        digest = hashlib.sha256(data_set(STUDY, 0)).hexdigest()
        assert instance.path.name == f"{STUDY}.1.0.{digest}.dcm"
        seen.append(bucket.get(str(instance.path.relative_to(here.spool.path))))

    instance = here.accept(data_set(STUDY, 0), record)
    assert seen == [instance.path.read_bytes()]


def test_another_machine_gets_it(here: Machine, there: Machine) -> None:
    instance = here.accept(data_set(STUDY, 0))
    copy = there.place(instance.path, here)
    there.spool.obtain([copy, copy])
    assert copy.read_bytes() == instance.path.read_bytes()
    assert there.spool.has(copy)


def test_a_disk_that_was_emptied_fills_itself(here: Machine) -> None:
    instance = here.accept(data_set(STUDY, 0))
    content = instance.path.read_bytes()
    instance.path.unlink()
    assert here.spool.has(instance.path)
    here.spool.obtain([instance.path])
    assert instance.path.read_bytes() == content


def test_two_machines_give_two_images_of_one_uid_two_names(
    here: Machine, there: Machine, bucket: S3Server
) -> None:
    """Neither knows that the other has one."""
    other = data_set(STUDY, 0) + b"\x28\x00\x04\x00CS\x0c\x00MONOCHROME2 "
    names = {here.accept(data_set(STUDY, 0)).path.name, there.accept(other).path.name}
    assert {Path(each).name for each in sorted(bucket.keys())} == names
    assert len(names) == 2


def test_an_object_that_was_changed_is_not_taken(
    here: Machine, there: Machine, bucket: S3Server
) -> None:
    path = here.accept(data_set(STUDY, 0)).path
    key = str(path.relative_to(here.spool.path))
    bucket.put(key, bucket.get(key)[:-1] + b"?")
    copy = there.place(path, here)
    with pytest.raises(StorageError, match="other bytes than its name says"):
        there.spool.obtain([copy])
    assert not copy.exists()


def test_a_changed_result_is_not_taken_either(here: Machine, bucket: S3Server) -> None:
    digest = hashlib.sha256(b"result").hexdigest()
    path = here.spool.results_folder / "job" / f"1.2.3.{digest[:8]}.dcm"
    bucket.put(str(path.relative_to(here.spool.path)), b"another")
    with pytest.raises(StorageError, match="other bytes"):
        here.spool.obtain([path])


def test_a_file_that_is_nowhere_is_named(here: Machine) -> None:
    path = here.spool.received_folder / "1/2/3.dcm"
    with pytest.raises(StorageError, match=r"3.dcm is neither here nor in s3://spool/ward"):
        here.spool.obtain([path])


def test_a_path_of_another_spool_is_named(here: Machine, there: Machine) -> None:
    with pytest.raises(StorageError, match="is not below the spool's folder"):
        here.spool.obtain([there.spool.received_folder / "1/2/3.dcm"])


def test_a_large_file_goes_in_parts_and_comes_whole(here: Machine) -> None:
    content = os.urandom(1 << 20) * 13
    digest = hashlib.sha256(content).hexdigest()
    path = here.spool.results_folder / "job" / f"1.{digest[:8]}.dcm"
    path.parent.mkdir()
    path.write_bytes(content)
    here.spool.publish(path)
    path.unlink()
    here.spool.obtain([path])
    assert path.read_bytes() == content


def test_while_the_bucket_is_away_nothing_is_acknowledged(tmp_path: Path) -> None:
    """The sender gets A700 and comes again; then it is there, once."""
    port = free_port()
    away = machine(tmp_path, S3Server(f"http://127.0.0.1:{port}"), timeout_seconds=2.0)
    recorded: list[ReceivedInstance] = []
    with pytest.raises(StorageError, match="cannot put received/") as refused:
        away.accept(data_set(STUDY, 0), lambda instance, _: recorded.append(instance))
    assert codes_for(refused.value).store_status == 0xA700
    assert recorded == []
    with running_s3(tmp_path, port) as server:
        instance = away.accept(data_set(STUDY, 0), lambda instance, _: recorded.append(instance))
        assert recorded == [instance]
        assert server.keys() == {str(instance.path.relative_to(away.spool.path))}
    instance.path.unlink()
    with pytest.raises(ShareAwayError, match="cannot get received/"):
        away.spool.obtain([instance.path])


def test_an_image_that_was_removed_elsewhere_just_then_is_put_again(
    here: Machine, bucket: S3Server
) -> None:
    """By the retention of another machine, before it was recorded here."""
    instance = here.accept(data_set(STUDY, 0), lambda *_: bucket.empty())
    assert bucket.keys() == {str(instance.path.relative_to(here.spool.path))}


def test_what_is_removed_is_removed_from_both(
    here: Machine, bucket: S3Server, ledger: Ledger, clock: Clock
) -> None:
    """Also what a crash left in the bucket before it was recorded."""
    ward = Ward(here.spool, ledger, clock)
    ward.finish()
    for path in here.spool.results_folder.rglob("*.dcm"):
        here.spool.publish(path)
    bucket.put(f"received/{STUDY}/{STUDY}.1/left.dcm", b"over")
    bucket.put("received/1.9/1.9.1/other.dcm", b"another study")
    assert len(bucket.keys()) == 6
    clock.advance(10 * DAY_SECONDS)
    assert len(list(ward.retention(keep_days=7).remove_expired())) == 1
    assert bucket.keys() == {"received/1.9/1.9.1/other.dcm"}
    assert ward.files() == set()


def grown_old(paths: Iterable[Path]) -> None:
    yesterday = time.time() - 25 * 3600
    for path in paths:
        os.utime(path, (yesterday, yesterday))


def test_what_nobody_has_used_leaves_the_disk_and_not_the_bucket(
    here: Machine, bucket: S3Server, ledger: Ledger, clock: Clock
) -> None:
    """A file from before there was a bucket, here the result, stays."""
    ward = Ward(here.spool, ledger, clock)
    first, second, third = (each.path for each in ward.finish())
    [result] = here.spool.results_folder.rglob("*.dcm")
    grown_old([first, second, third, result])
    here.spool.obtain([second])
    ward.retention().drop_unused()
    assert ward.files() == {second, result}
    assert len(bucket.keys()) == 3
    here.spool.obtain([first, third])
    assert ward.files() == {first, second, third, result}


def test_a_study_that_another_machine_removed_leaves_this_disk_too(
    here: Machine, bucket: S3Server, ledger: Ledger, clock: Clock
) -> None:
    """And does not come back into the bucket."""
    ward = Ward(here.spool, ledger, clock)
    ward.finish()
    copies = {path: path.read_bytes() for path in ward.files()}
    clock.advance(10 * DAY_SECONDS)
    assert len(list(ward.retention(keep_days=7).remove_expired())) == 1
    for path, content in copies.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    grown_old(copies)
    ward.retention().drop_unused()
    assert ward.files() == set()
    assert bucket.keys() == set()


def test_doctor_tries_it(here: Machine, bucket: S3Server) -> None:
    assert here.share.test() == "s3://spool/ward keeps what is put there"
    assert bucket.keys() == set()


def test_a_bucket_needs_a_database_for_several(tmp_path: Path) -> None:
    config = parse_config({"spool": {"share": {"url": "s3://spool"}}}, source=tmp_path / "w.toml")
    with pytest.raises(ConfigError, match="the ledger is in SQLite"):
        open_share(config)

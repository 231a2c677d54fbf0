"""Files in the watched folder are taken once they are whole, and none is ever lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from conftest import Clock
from gateway import eventually, running_gateway, settings
from network.conftest import Recorder
from network.neighbours import write_small_ct
from phantom import write_series
from tiny_model import TinyModel
from wetread.config import WatchFolderConfig
from wetread.errors import ConfigError, LedgerError, StorageError
from wetread.ledger import JobState
from wetread.receive.spool import Spool
from wetread.receive.watch_folder import WATCH_FOLDER_CALLER, WatchFolder


class Inbox:
    """A watched folder that is looked at by hand; ten seconds make a file whole."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "inbox"
        self.path.mkdir()
        self.clock = Clock()
        self.recorder = Recorder()
        self.spool = Spool(folder / "spool", min_free_bytes=0)
        config = WatchFolderConfig(path=self.path)
        self.watch = WatchFolder(config, self.spool, self.recorder, self.clock)

    def after(self, seconds: float) -> int:
        """How many files are taken when so much time has gone by."""
        self.watch.look()
        self.clock.now += seconds
        return self.watch.look()

    def names(self) -> set[str]:
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*")}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def small_ct(folder: Path, name: str = "one.dcm") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_small_ct(folder).rename(folder / name)


def test_a_file_that_stands_still_is_taken_byte_for_byte(inbox: Inbox) -> None:
    sent = dcmread(small_ct(inbox.path / "study/series"))
    assert inbox.after(9.0) == 0
    assert inbox.watch.open_callers() == {WATCH_FOLDER_CALLER}
    assert inbox.after(1.0) == 1
    [instance] = inbox.recorder.instances
    assert instance.calling_ae_title == WATCH_FOLDER_CALLER
    assert dcmread(instance.path).to_json_dict() == sent.to_json_dict()
    assert inbox.names() == set()
    assert inbox.watch.open_callers() == frozenset()


def test_a_file_that_grows_is_waited_for(inbox: Inbox) -> None:
    whole = small_ct(inbox.path).read_bytes()
    file = inbox.path / "one.dcm"
    file.write_bytes(whole[:500])
    inbox.watch.look()
    inbox.clock.now += 9
    file.write_bytes(whole)
    assert inbox.after(9.0) == 0
    assert inbox.after(1.0) == 1


@pytest.mark.parametrize("name", ["one.dcm.part", ".one.dcm", ".hidden/one.dcm"])
def test_what_is_still_being_written_is_left_alone(inbox: Inbox, name: str) -> None:
    small_ct((inbox.path / name).parent, Path(name).name)
    assert inbox.after(60.0) == 0
    assert (inbox.path / name).is_file()


def test_what_is_no_dicom_is_set_aside_with_the_reason(inbox: Inbox) -> None:
    (inbox.path / "a").mkdir()
    (inbox.path / "a/notes.txt").write_text("not an image " * 50)
    small_ct(inbox.path / "b")
    assert inbox.after(10.0) == 2
    assert inbox.names() == {
        "refused",
        "refused/a",
        "refused/a/notes.txt",
        "refused/a/notes.txt.txt",
    }
    reason = (inbox.path / "refused/a/notes.txt.txt").read_text(encoding="utf-8")
    assert "no DICM after the preamble" in reason
    assert "hint: " in reason
    assert len(inbox.recorder.instances) == 1
    assert inbox.after(60.0) == 0


def test_a_file_cut_short_is_set_aside(inbox: Inbox) -> None:
    file = small_ct(inbox.path)
    file.write_bytes(file.read_bytes()[:140])
    assert inbox.after(10.0) == 1
    assert "refused/one.dcm" in inbox.names()


def test_a_full_spool_leaves_the_file(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    small_ct(inbox.path)
    inbox.watch.look()
    inbox.clock.now += 10
    with monkeypatch.context() as patched:
        patched.setattr(inbox.spool, "min_free_bytes", 1 << 60)
        with pytest.raises(StorageError):
            inbox.watch.look()
    assert (inbox.path / "one.dcm").is_file()
    assert inbox.watch.look() == 1


def test_a_ledger_that_is_away_leaves_the_file(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    small_ct(inbox.path)

    def away(*_arguments: object) -> None:
        raise LedgerError("the ledger does not answer", hint="wait")

    watch = WatchFolder(WatchFolderConfig(path=inbox.path), inbox.spool, away, inbox.clock)
    watch.look()
    inbox.clock.now += 10
    with pytest.raises(LedgerError):
        watch.look()
    assert inbox.names() == {"one.dcm"}


def test_a_link_is_not_followed(inbox: Inbox, tmp_path: Path) -> None:
    (inbox.path / "link.dcm").symlink_to(small_ct(tmp_path / "elsewhere"))
    assert inbox.after(60.0) == 0
    assert (tmp_path / "elsewhere/one.dcm").is_file()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = WatchFolderConfig(path=tmp_path / "none")
    with pytest.raises(ConfigError, match=r"watch_folder\.path: .*none is no folder"):
        WatchFolder(config, Spool(tmp_path / "spool", 0), Recorder())


def test_a_study_that_is_put_there_is_read(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """From the folder to three results."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    watched = {"path": str(folder), "settle_seconds": 0.2, "poll_seconds": 0.1}
    config = settings(
        tmp_path, tiny_ct, {"out": {"kind": "folder", "path": str(out)}}, watch_folder=watched
    )
    with running_gateway(config) as gateway:
        series = write_series(folder / "study", shape=(8, 24, 20), row_spacing_mm=8.0)
        gateway.job(series.study_instance_uid, JobState.DONE)
        eventually(lambda: len(list(out.rglob("*.dcm"))) == 3)
        assert list(folder.iterdir()) == []

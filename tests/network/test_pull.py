"""Old studies of a real Orthanc come in by C-MOVE; of an archive that fails it is said why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

from command_line import Ended, in_process
from network.neighbours import Orthanc, free_port, write_small_ct
from wetread.config import ListenerConfig, load_config
from wetread.dicom.network import VERIFICATION_SOP_CLASS
from wetread.dicom.retrieve import STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from wetread.ledger import Ledger
from wetread.pull.pull import Puller, PullState
from wetread.pull.query import Wanted
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool, SpooledFile
from wetread.study import ReceivedInstance

pytestmark = pytest.mark.timeout(60)

CT_IMAGE, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
Pull = Callable[..., Ended]


class Ward:
    """A listener that records in a ledger, and settings that name an archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "wetread.toml"
        self.ledger = Ledger(f"sqlite:///{folder / 'spool' / 'ledger.sqlite3'}")
        config = ListenerConfig(ae_title="PULLER", port=0, accept_calling_ae_titles=("*",))
        self.listener = Listener(config, Spool(folder / "spool", 0), self._record)

    def _record(self, instance: ReceivedInstance, spooled: SpooledFile) -> None:
        self.ledger.studies.record_instance(
            instance, sha256=spooled.sha256, size_bytes=spooled.size_bytes
        )

    def knows(self, port: int, **more: Any) -> None:
        lines = "\n".join(f"{key} = {value!r}" for key, value in more.items())
        self.file.write_text(
            f"""
[listener]
ae_title = "PULLER"
[spool]
path = "spool"
[archives.old]
host = "127.0.0.1"
port = {port}
called_ae_title = "ORTHANC"
calling_ae_title = "PULLER"
timeout_seconds = 5.0
move_timeout_seconds = 5.0
pause_seconds = 0.01
{lines}
""",
            encoding="utf-8",
        )


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    made = Ward(tmp_path)
    made.listener.start()
    yield made
    made.listener.stop()
    made.ledger.close()


@pytest.fixture
def pull(ward: Ward, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pull:
    def run(*options: object) -> Ended:
        return in_process(capsys, monkeypatch, "pull", "old", *options, "--config", ward.file)

    return run


def fill(orthanc: Orthanc, folder: Path, day: str, **changes: str) -> str:
    """A study of two series with two instances each; gives its UID."""
    study = generate_uid()
    for modality in ("CT", "OT"):
        series = generate_uid()
        for _ in range(2):
            orthanc.upload(
                write_small_ct(
                    folder,
                    StudyInstanceUID=study,
                    SeriesInstanceUID=series,
                    StudyDate=day,
                    Modality=modality,
                    **changes,
                )
            )
    return study


def test_what_is_wanted_comes_and_nothing_else(
    orthanc: Orthanc, ward: Ward, pull: Pull, tmp_path: Path
) -> None:
    orthanc.know_modality("puller", "PULLER", ward.listener.port)
    first = fill(orthanc, tmp_path, "19990103", StudyDescription="HEAD native")
    second = fill(orthanc, tmp_path, "19990104", StudyDescription="HEAD")
    fill(orthanc, tmp_path, "19990105", StudyDescription="Knee")
    fill(orthanc, tmp_path, "19990201", StudyDescription="HEAD")
    ward.knows(orthanc.dicom_port)
    wanted = ("--from", "1999-01-01", "--to", "1999-01-31", "--study-description", "*HEAD*")

    shown = pull(*wanted, "--dry-run", "--json").json
    assert [(each["study"], each["matched"], each["state"]) for each in shown] == [
        (first, 4, "found"),
        (second, 4, "found"),
    ]
    assert ward.ledger.studies.newest(9) == ()

    done = pull(*wanted, "--modality", "CT", "--limit", 1, "--json")
    assert done.exit_code == 0, done.err
    [only] = done.json
    assert (only["study"], only["state"], only["completed"], only["arrived"]) == (
        first, "fetched", 2, 2,
    )  # fmt: skip
    assert sum(ward.ledger.studies.instances_by_series(first).values()) == 2

    # Again, and now both modalities: the first study for what is missing, the second as a whole.
    again = pull(*wanted, "--json").json
    assert [(each["study"], each["state"], each["arrived"]) for each in again] == [
        (first, "fetched", 4),
        (second, "fetched", 4),
    ]
    assert {each.study_instance_uid for each in ward.ledger.studies.newest(9)} == {first, second}
    last = pull(*wanted, "--json")
    assert [each["state"] for each in last.json] == ["here already"] * 2
    assert last.exit_code == 0

    names = [each.content["EventIdentification"]["EventID"]["originalText"]
             for each in ward.ledger.trail.newest()]  # fmt: skip
    assert names.count("Query") == 4
    assert names.count("Security Alert") == 3


def test_a_gateway_that_the_archive_does_not_know_is_said(
    orthanc: Orthanc, ward: Ward, pull: Pull, tmp_path: Path
) -> None:
    orthanc.know_modality("puller", "PULLER", ward.listener.port)
    study = fill(orthanc, tmp_path, "19980101")
    ward.knows(orthanc.dicom_port, move_destination="NOBODY")
    ended = pull("--study", study, "--json")
    assert ended.exit_code == 4
    [row] = ended.json
    assert (row["state"], row["arrived"]) == ("failed", 0)
    assert "status" in row["reason"]


def test_a_gateway_that_does_not_run_is_said(
    orthanc: Orthanc, ward: Ward, pull: Pull, tmp_path: Path
) -> None:
    orthanc.know_modality("puller", "PULLER", free_port())
    study = fill(orthanc, tmp_path, "19970101")
    ward.knows(orthanc.dicom_port)
    ended = pull("--study", study, "--json")
    assert ended.exit_code == 4
    [row] = ended.json
    assert row["state"] in ("failed", "incomplete")
    assert "gateway runs" in row["what_to_do"]


class ScriptedArchive:
    """Answers C-FIND with `studies`, whatever is asked, and C-MOVE by `moves`."""

    def __init__(self, studies: int = 1) -> None:
        self.studies = [generate_uid() for _ in range(studies)]
        self.moved: list[str] = []
        self.cancelled = threading.Event()
        self.sending = threading.Event()
        self.sends_to = 0
        self.folder = Path()
        self.status = 0x0000

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        level = event.identifier.QueryRetrieveLevel
        for study in self.studies if level == "STUDY" else [event.identifier.StudyInstanceUID]:
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            answer.StudyInstanceUID = study
            answer.StudyDate = "20200101"
            if level != "STUDY":
                answer.SeriesInstanceUID = f"{study}.1"[:64]
                answer.Modality = "CT"
            # No number of instances: an optional key that it ignores.
            yield 0xFF00, answer
            if level == "IMAGE":
                return

    def move(self, event: evt.Event) -> Iterator[Any]:
        self.moved.append(str(event.identifier.StudyInstanceUID))
        if self.status == 0xA801:
            yield None, None
            return
        yield "127.0.0.1", self.sends_to or free_port()
        yield 1000
        for _ in range(1000):
            if event.is_cancelled:
                self.cancelled.set()
                yield 0xFE00, Dataset()
                return
            self.sending.set()
            yield 0xFF00, dcmread(write_small_ct(self.folder))

    @contextmanager
    def serving(self) -> Iterator[int]:
        ae = AE(ae_title="ORTHANC")
        ae.add_requested_context(CT_IMAGE, EXPLICIT)
        for uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, VERIFICATION_SOP_CLASS):
            ae.add_supported_context(uid)
        handlers = [(evt.EVT_C_FIND, self.find), (evt.EVT_C_MOVE, self.move)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            ae.shutdown()


def test_an_unknown_move_destination_ends_the_pull(ward: Ward, pull: Pull) -> None:
    archive = ScriptedArchive(studies=3)
    archive.status = 0xA801
    with archive.serving() as port:
        ward.knows(port)
        ended = pull("--from", "2020-01-01", "--json")
    assert ended.exit_code == 4
    rows = ended.json
    assert [each["state"] for each in rows] == ["failed", "not asked for", "not asked for"]
    assert "A801: move destination unknown" in rows[0]["reason"]
    assert "tell the archive the AE title" in rows[0]["what_to_do"]
    assert len(archive.moved) == 1


def test_an_archive_that_ignores_a_key_is_not_obeyed(ward: Ward, pull: Pull) -> None:
    archive = ScriptedArchive(studies=3)
    with archive.serving() as port:
        ward.knows(port)
        ended = pull("--study", archive.studies[1], "--dry-run", "--json")
    assert [each["study"] for each in ended.json] == [archive.studies[1]]
    assert "2 answers do not fit" in ended.err


def test_one_who_stops_tells_the_archive(ward: Ward, tmp_path: Path) -> None:
    archive = ScriptedArchive()
    archive.sends_to, archive.folder = ward.listener.port, tmp_path
    with archive.serving() as port:
        ward.knows(port)
        config = load_config(ward.file).archives["old"]
        puller = Puller("old", config, ward.ledger, "PULLER")
        found, _ = puller.find(Wanted(studies=(archive.studies[0],)), lambda *_: None)

        def stop() -> None:
            archive.sending.wait(10)
            puller.cancellation.request()

        stopper = threading.Thread(target=stop)
        stopper.start()
        [pulled] = puller.pull(found, lambda *_: None)
        stopper.join()
        assert archive.cancelled.wait(10)
    assert pulled.state is PullState.CANCELLED


def test_an_archive_that_is_not_there_is_an_error(ward: Ward, pull: Pull) -> None:
    ward.knows(free_port())
    assert pull("--from", "2020-01-01").is_error(4, "cannot be reached")


def test_one_that_was_not_made_is_an_error(
    ward: Ward, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.knows(free_port())
    for command in (("pull", "new", "--from", "2020-01-01"), ("check", "archive", "new")):
        ended = in_process(capsys, monkeypatch, *command, "--config", ward.file)
        assert ended.is_error(2, "no archive 'new'; known: old")

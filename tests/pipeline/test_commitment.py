"""Storage commitment both ways: with Orthanc, and with a peer that answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt

from gateway import CALLER, ReceivingAE, eventually, running_gateway, settings
from network import neighbours
from network.neighbours import Orthanc, free_port, write_small_ct
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from unit.receive.finished import STUDY, Ward
from wetread.commitment import Commitment
from wetread.config import ListenerConfig, parse_config
from wetread.deliver.registry import open_destination
from wetread.dicom.commitment import (
    COMMITMENT_SOP_CLASS,
    COMMITMENT_SOP_INSTANCE,
    Outcome,
    Reference,
    report_commitment,
)
from wetread.dicom.network import Peer
from wetread.errors import CommitmentRefusedError
from wetread.infer.shelf import ModelShelf
from wetread.ledger import DeliveryRecord, DeliveryState, Ledger
from wetread.pipeline import Pipeline, Rooms
from wetread.receive.assembly import Doors
from wetread.receive.listener import Listener
from wetread.receive.retention import Retention
from wetread.receive.spool import Spool

pytestmark = pytest.mark.timeout(60)
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def series(tmp_path: Path) -> PhantomSeries:
    return write_series(tmp_path / "study", shape=(6, 16, 16))


@dataclass
class Desk:
    """Listener, ledger, deliveries and commitment of a gateway, without what reads."""

    ward: Ward
    listener: Listener
    pipeline: Pipeline

    def turn(self) -> None:
        """Send what is due."""
        for task in self.pipeline.due(time.time()):
            self.pipeline.run(task.kind, task.subject, task.number)

    def until(self, look: Callable[[], Any]) -> Any:
        """What `look` gives once it gives something; sends what is due meanwhile."""
        return eventually(lambda: (self.turn(), look())[1])

    def events(self) -> list[str]:
        history = self.ward.ledger.studies.history(STUDY)
        return [each.event for each in history if each.stage == "commit"]

    def delivery_in(self, state: DeliveryState) -> DeliveryRecord:
        self.until(lambda: self.ward.delivery().state == state)
        return self.ward.delivery()


@contextmanager
def open_desk(folder: Path, port: int = 0, **sections: Any) -> Iterator[Desk]:
    config = parse_config(
        {
            "listener": {"port": port, "accept_calling_ae_titles": ["*"]},
            "spool": {"path": str(folder / "spool"), "min_free_bytes": 0},
            **sections,
        }
    )
    ward = Ward.on(folder, Ledger(f"sqlite:///{folder / 'desk.sqlite3'}"), time.time)
    commitment = Commitment(config, ward.ledger)
    listener = Listener(config.listener, ward.spool, ward._record, commitment=commitment)
    sent_to = {name: open_destination(name, to) for name, to in config.destinations.items()}
    shelf = ModelShelf({}, folder)
    rooms = Rooms(config, ward.ledger, ward.spool, shelf, sent_to, Doors)
    listener.start()
    commitment.start()
    try:
        yield Desk(ward, listener, Pipeline(rooms))
    finally:
        listener.stop()
        commitment.stop(10)
        ward.ledger.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wetread.commitment.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("wetread.commitment.LINGER_SECONDS", 0.5)
    monkeypatch.setattr("wetread.ledger.deliveries.GATHER_SECONDS", 0.0)
    monkeypatch.setattr("wetread.ledger.commitments.FIRST_ANSWER_SECONDS", 0.2)


# -- Orthanc ----------------------------------------------------------------------------------


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with neighbours.orthanc(tmp_path) as running:
        yield running


def to_orthanc(orthanc: Orthanc) -> dict[str, Any]:
    return {
        "kind": "dicom",
        "host": "127.0.0.1",
        "port": orthanc.dicom_port,
        "called_ae_title": "ORTHANC",
    }


def test_orthanc_commits_to_our_results_and_then_they_may_go(
    tmp_path: Path, tiny_ct: TinyModel, orthanc: Orthanc, series: PhantomSeries
) -> None:
    config = settings(
        tmp_path,
        tiny_ct,
        {"pacs": {**to_orthanc(orthanc), "commitment": True}},
        listener={"port": 0, "accept_calling_ae_titles": [CALLER, "ORTHANC"]},
        assembly={"series_quiet_seconds": 0.3, "study_quiet_seconds": 0.3},
        retention={"keep_days": 0, "check_seconds": 0.1},
    )
    study = series.study_instance_uid
    with running_gateway(config) as gateway:
        port = gateway.service.listener.port
        orthanc.know_modality("wetread", "WETREAD", port)
        gateway.send(series.paths)
        eventually(lambda: gateway.service.ledger.removals.of_study(study))
        events = gateway.service.ledger.studies.history(study)
    told = [each.event for each in events]
    committed = {f"{kind} committed by pacs" for kind in ("SEG", "SR", "SC")}
    assert committed <= set(told)
    assert told.index("removed from the spool: 6 images, 3 results; finished 0.0 days ago") > max(
        told.index(each) for each in committed
    )


def test_orthanc_asks_what_we_keep(tmp_path: Path, orthanc: Orthanc, series: PhantomSeries) -> None:
    caller = {"host": "127.0.0.1", "port": orthanc.dicom_port}
    identifiers = [orthanc.upload(path) for path in series.paths]
    with open_desk(tmp_path, commitment={"callers": {"ORTHANC": caller}}) as desk:
        orthanc.know_modality("wetread", "WETREAD", desk.listener.port)
        assert orthanc.post("/modalities/wetread/store", identifiers).status_code == 200
        pairs = [[CT, uid] for uid in uids_of(series)]
        report = asked_by(orthanc, [*pairs, [CT, "1.2.3.4"]])
    assert report["Status"] == "Failure"
    assert {each["SOPInstanceUID"] for each in report["Success"]} == set(uids_of(series))
    [failure] = report["Failures"]
    assert (failure["SOPInstanceUID"], failure["FailureReason"]) == ("1.2.3.4", 0x0112)


def uids_of(series: PhantomSeries) -> list[str]:
    return [str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in series.paths]


def asked_by(orthanc: Orthanc, pairs: list[list[str]]) -> dict[str, Any]:
    answer = orthanc.post("/modalities/wetread/storage-commitment", {"DicomInstances": pairs})
    assert answer.status_code == 200, answer.text
    path = answer.json()["Path"]

    def report() -> dict[str, Any] | None:
        found: dict[str, Any] = httpx.get(f"{orthanc.url}{path}").json()
        return None if found["Status"] == "Pending" else found

    return eventually(report)


# -- a peer that answers as it is told -----------------------------------------------------------


@dataclass
class Archive:
    """A PACS that takes everything, and answers requests as `script` says, the last one for ever:

    a failure reason for every instance, 0 for "I keep it", "silence" for a request without a
    report, "away" for an abort. `same` reports on the association of the request, else on a new
    one to `report_to`.
    """

    script: list[int | str] = field(default_factory=lambda: [0])
    same: bool = False
    report_to: int = 0
    status: int = 0x0000
    requests: list[Dataset] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[dict[str, Any]]:
        """Its table under [destinations]."""
        ae = AE(ae_title="PACS")
        for uid in sorted(neighbours.STORAGE_SOP_CLASSES):
            ae.add_supported_context(uid, ExplicitVRLittleEndian)
        ae.add_supported_context(COMMITMENT_SOP_CLASS, ExplicitVRLittleEndian)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._act)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        try:
            port = int(server.server_address[1])
            yield {"kind": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "PACS"}
        finally:
            server.shutdown()
            for thread in self.threads:
                thread.join(10)

    def _store(self, event: evt.Event) -> int:
        self.stores.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _act(self, event: evt.Event) -> tuple[int, None]:
        request = event.action_information
        self.requests.append(request)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if step == "away":
            event.assoc.abort()
        elif step != "silence" and self.status == 0x0000:
            tell = self._on_the_same if self.same else self._on_a_new_one
            thread = threading.Thread(target=tell, args=(event.assoc, request, step))
            self.threads.append(thread)
            thread.start()
        return self.status, None

    def _on_the_same(self, association: Any, request: Dataset, reason: int) -> None:
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        report.ReferencedSOPSequence = request.ReferencedSOPSequence
        assert reason == 0
        association.send_n_event_report(report, 1, COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE)

    def _on_a_new_one(self, _: object, request: Dataset, reason: int) -> None:
        report_commitment(
            Peer("gateway", "127.0.0.1", self.report_to, "WETREAD", "PACS"),
            outcome(request, reason),
        )


def outcome(request: Dataset, reason: int) -> Outcome:
    references = tuple(
        Reference(str(each.ReferencedSOPClassUID), str(each.ReferencedSOPInstanceUID))
        for each in request.ReferencedSOPSequence
    )
    if reason == 0:
        return Outcome(str(request.TransactionUID), references)
    return Outcome(str(request.TransactionUID), (), tuple((each, reason) for each in references))


Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A desk with one result that is to be sent to that archive."""

    @contextmanager
    def running(archive: Archive, **destination: Any) -> Iterator[Desk]:
        archive.report_to = free_port()
        quick = {"first_retry_seconds": 0.1, "max_retry_seconds": 0.2, "commitment": True}
        with archive.serving() as table:
            pacs = {"pacs": {**table, **quick, **destination}}
            with open_desk(tmp_path, archive.report_to, destinations=pacs) as desk:
                queue_a_result(desk, tmp_path)
                yield desk

    return running


def queue_a_result(desk: Desk, folder: Path) -> None:
    desk.ward.receive()
    desk.ward.read()
    result = write_small_ct(folder, SOPInstanceUID=f"{STUDY}.9")
    result.replace(desk.ward.delivery().path)


COMMITTED = "SEG committed by pacs"


@pytest.mark.parametrize("same", [True, False])
def test_a_report_is_taken_on_the_same_association_and_on_a_new_one(run: Run, same: bool) -> None:
    archive = Archive(same=same)
    with run(archive) as desk:
        desk.until(lambda: desk.events() == [COMMITTED])
    assert [referenced(request) for request in archive.requests] == [[f"{STUDY}.9"]]
    assert archive.stores == [f"{STUDY}.9"]


def test_nothing_is_removed_before_it_is_committed_to(run: Run) -> None:
    archive = Archive(script=["silence"])
    with run(archive) as desk:
        desk.until(lambda: archive.requests)
        keeper = Retention(
            desk.ward.config(keep_days=0), desk.ward.ledger, desk.ward.spool, frozenset, later
        )
        assert keeper.outlook().expired == ()
        archive._on_a_new_one(None, archive.requests[0], 0)
        desk.until(lambda: desk.events() == [COMMITTED])
        assert len(keeper.outlook().expired) == 1


def later() -> float:
    return time.time() + 1e6


def referenced(request: Dataset) -> list[str]:
    return [str(each.ReferencedSOPInstanceUID) for each in request.ReferencedSOPSequence]


def test_what_the_archive_has_lost_is_sent_again(run: Run) -> None:
    archive = Archive(script=[0x0112, 0])
    with run(archive) as desk:
        desk.until(lambda: COMMITTED in desk.events())
        first, *_ = desk.events()
    assert first.startswith("SEG not committed, sent again in 0 s: pacs does not commit to ")
    assert "0112, it has no such instance" in first
    assert archive.stores == [f"{STUDY}.9"] * 2
    assert len({request.TransactionUID for request in archive.requests}) == 2


def test_one_that_loses_it_again_and_again_ends_as_a_dead_letter(run: Run) -> None:
    archive = Archive(script=[0x0112])
    with run(archive, max_attempts=2) as desk:
        dead = desk.delivery_in(DeliveryState.DEAD)
        assert len(archive.stores) == 2
        archive.script = [0]
        desk.ward.ledger.deliveries.retry(dead.delivery_id)
        desk.until(lambda: COMMITTED in desk.events())
    assert len(archive.stores) == 3


def test_a_refusal_that_stays_is_a_dead_letter(run: Run) -> None:
    with run(Archive(script=[0x0122])) as desk:
        dead = desk.delivery_in(DeliveryState.DEAD)
    assert dead.failure is not None
    assert dead.failure.error == "CommitmentRefusedError"
    assert "0122, it does not commit to this SOP class" in dead.failure.message


def test_a_silent_archive_is_asked_again(run: Run) -> None:
    archive = Archive(script=["silence", 0])
    with run(archive, commitment_seconds=0.1) as desk:
        desk.until(lambda: desk.events() == [COMMITTED])
    assert len(archive.requests) == 2
    assert len(archive.stores) == 1


def test_one_that_never_answers_ends_as_a_dead_letter(run: Run) -> None:
    archive = Archive(script=["silence"])
    with run(archive, commitment_seconds=0.1, max_attempts=1) as desk:
        dead = desk.delivery_in(DeliveryState.DEAD)
    assert dead.failure is not None
    assert "did not answer 1 requests to commit" in dead.failure.message
    assert len(archive.requests) == 1


def test_an_archive_that_takes_no_requests_is_a_dead_letter(run: Run) -> None:
    with run(Archive(status=0x0122)) as desk:
        dead = desk.delivery_in(DeliveryState.DEAD)
    assert dead.failure is not None
    assert "a request for storage commitment with 0122" in dead.failure.message


def test_one_that_does_not_offer_it_is_named(tmp_path: Path) -> None:
    with ReceivingAE(tmp_path / "pacs") as pacs:
        table = {"pacs": {**pacs.destination, "commitment": True}}
        with open_desk(tmp_path, destinations=table) as desk:
            queue_a_result(desk, tmp_path)
            dead = desk.delivery_in(DeliveryState.DEAD)
    assert dead.failure is not None
    assert "accepts none of: Storage Commitment Push Model SOP Class" in dead.failure.message


def test_an_archive_that_is_away_is_asked_later(run: Run) -> None:
    archive = Archive(script=["away", 0])
    with run(archive) as desk:
        desk.until(lambda: COMMITTED in desk.events())
        first, *_ = desk.events()
    assert first.startswith("SEG at pacs: not asked: ")
    assert len(archive.stores) == 1


def test_a_report_that_nobody_asked_for_is_refused(run: Run) -> None:
    archive = Archive()
    forged = Dataset()
    forged.TransactionUID = generate_uid()
    forged.ReferencedSOPSequence = []
    with run(archive), pytest.raises(CommitmentRefusedError, match=r"answered a report .* 0115"):
        archive._on_a_new_one(None, forged, 0)


def test_a_destination_that_is_no_longer_asked_is_not_waited_for(run: Run, tmp_path: Path) -> None:
    archive = Archive(script=["silence"])
    with run(archive) as desk:
        desk.until(lambda: archive.requests)
    with open_desk(tmp_path) as desk:
        keeper = Retention(
            desk.ward.config(keep_days=0), desk.ward.ledger, desk.ward.spool, frozenset, later
        )
        assert len(keeper.outlook().expired) == 1


# -- senders that ask us -------------------------------------------------------------------------


@dataclass
class Sender:
    """A modality that asks for commitment and takes the report on an association of ours."""

    reports: list[Dataset] = field(default_factory=list)
    answers: list[int] = field(default_factory=lambda: [0x0000])

    @contextmanager
    def listening(self) -> Iterator[int]:
        ae = AE(ae_title=CALLER)
        ae.add_supported_context(
            COMMITMENT_SOP_CLASS, ExplicitVRLittleEndian, scu_role=False, scp_role=True
        )
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        yield int(server.server_address[1])
        server.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(event.event_information)
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]), None

    def ask(self, port: int, pairs: list[tuple[str, str]], title: str = CALLER) -> int:
        """The status of the answer to the N-ACTION."""
        ae = AE(ae_title=title)
        ae.add_requested_context(COMMITMENT_SOP_CLASS, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", port, ae_title="WETREAD")
        assert association.is_established
        request = Dataset()
        request.TransactionUID = generate_uid()
        request.ReferencedSOPSequence = []
        for sop_class, uid in pairs:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            request.ReferencedSOPSequence.append(item)
        answer, _ = association.send_n_action(
            request, 1, COMMITMENT_SOP_CLASS, COMMITMENT_SOP_INSTANCE
        )
        association.release()
        return int(answer.Status)


@pytest.fixture
def asked(tmp_path: Path) -> Run:
    """A desk that answers that sender."""

    @contextmanager
    def running(sender: Sender) -> Iterator[Desk]:
        with sender.listening() as port:
            quick = {"first_retry_seconds": 0.1, "max_retry_seconds": 0.2}
            caller = {"host": "127.0.0.1", "port": port, **quick}
            with open_desk(tmp_path, commitment={"callers": {CALLER: caller}}) as desk:
                yield desk

    return running


def test_only_what_lies_in_the_spool_is_committed_to(asked: Run) -> None:
    sender = Sender()
    with asked(sender) as desk:
        lost, other_class, *kept = desk.ward.receive(images=5)
        lost.path.unlink()
        pairs = [(CT, each.sop_instance_uid) for each in (lost, *kept)]
        pairs.append(("1.2.840.10008.5.1.4.1.1.4", other_class.sop_instance_uid))
        assert sender.ask(desk.listener.port, pairs) == 0x0000
        eventually(lambda: sender.reports)
    [report] = sender.reports
    assert set(referenced(report)) == {each.sop_instance_uid for each in kept}
    reasons = {
        str(each.ReferencedSOPInstanceUID): each.FailureReason for each in report.FailedSOPSequence
    }
    assert reasons == {lost.sop_instance_uid: 0x0112, other_class.sop_instance_uid: 0x0119}


def test_what_was_delivered_is_committed_to_and_what_was_removed_is_not(asked: Run) -> None:
    sender = Sender()
    with asked(sender) as desk:
        image, *_ = desk.ward.finish()
        removing = Retention(
            desk.ward.config(keep_days=0), desk.ward.ledger, desk.ward.spool, frozenset, later
        )
        assert len(list(removing.remove_expired())) == 1
        pairs = [(CT, image.sop_instance_uid), ("1.2", f"{STUDY}.9")]
        assert sender.ask(desk.listener.port, pairs) == 0x0000
        eventually(lambda: sender.reports)
    [report] = sender.reports
    assert referenced(report) == [f"{STUDY}.9"]
    assert report.FailedSOPSequence[0].ReferencedSOPInstanceUID == image.sop_instance_uid


def test_a_sender_that_cannot_be_told_is_told_later(asked: Run) -> None:
    sender = Sender(answers=[0x0213, 0x0000])
    with asked(sender) as desk:
        image, *_ = desk.ward.receive()
        assert sender.ask(desk.listener.port, [(CT, image.sop_instance_uid)]) == 0x0000
        eventually(lambda: len(sender.reports) == 2)
    assert sender.reports[0].TransactionUID == sender.reports[1].TransactionUID
    assert "FailedSOPSequence" not in sender.reports[1]


def test_a_request_outlives_the_gateway(asked: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped before it can answer."""
    monkeypatch.setattr("wetread.ledger.commitments.FIRST_ANSWER_SECONDS", 1.0)
    sender = Sender()
    with asked(sender) as desk:
        image, *_ = desk.ward.receive()
        assert sender.ask(desk.listener.port, [(CT, image.sop_instance_uid)]) == 0x0000
    assert sender.reports == []
    with asked(sender):
        eventually(lambda: sender.reports)
    assert referenced(sender.reports[0]) == [image.sop_instance_uid]


def test_a_sender_without_an_address_may_not_ask(asked: Run) -> None:
    sender = Sender()
    with asked(sender) as desk:
        assert sender.ask(desk.listener.port, [(CT, "1.2")], title="OTHER") == 0x0124
        assert sender.ask(desk.listener.port, []) == 0x0110
    assert sender.reports == []


def test_where_nobody_commits_the_context_is_refused(tmp_path: Path) -> None:
    config = ListenerConfig(port=0, accept_calling_ae_titles=("*",))
    door = Listener(config, Spool(tmp_path, 0), lambda *_: None)
    door.start()
    ae = AE(ae_title=CALLER)
    ae.add_requested_context(COMMITMENT_SOP_CLASS, ExplicitVRLittleEndian)
    roles = [build_role(COMMITMENT_SOP_CLASS, scp_role=True)]
    association = ae.associate("127.0.0.1", door.port, ae_title="WETREAD", ext_neg=roles)
    refused = [context.result for context in association.rejected_contexts]
    association.abort()
    door.stop()
    assert refused == [0x03]

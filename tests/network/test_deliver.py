"""Delivery to dcmtk, to Orthanc, and to neighbours that refuse."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import evt

from network import neighbours
from network.neighbours import ScriptedScp, data_set_bytes, free_port, write_small_ct
from phantom import write_series
from readings import reading_of, result_context, result_of
from wetread.config import DicomDestination, DicomwebDestination, FolderDestination
from wetread.deliver.base import Destination, MemoryDestination
from wetread.deliver.registry import open_destination
from wetread.dicom.network import Peer, open_association
from wetread.errors import (
    AssociationRejectedError,
    DeliveryError,
    DestinationUnavailableError,
    InputError,
    StorageError,
    StoreRefusedError,
    WetreadError,
)
from wetread.results import OnDemand

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
CT = "1.2.840.10008.5.1.4.1.1.2"


def dicom(port: int, called: str = "SCRIPTED", timeout_seconds: float = 5.0) -> Destination:
    config = DicomDestination(
        kind="dicom",
        host="127.0.0.1",
        port=port,
        called_ae_title=called,
        timeout_seconds=timeout_seconds,
    )
    return open_destination("pacs", config)


def dicomweb(url: str, **settings: object) -> Destination:
    config = DicomwebDestination.model_validate({"kind": "dicomweb", "url": url, **settings})
    return open_destination("web", config)


def until_disconnected(event: evt.Event) -> None:
    """The association's thread goes on after the peer has answered and closed the connection."""
    link = event.assoc.dul.socket
    link._ready.wait(5)
    deadline = time.monotonic() + 5
    while link._is_connected and time.monotonic() < deadline:
        time.sleep(0.01)


Opened = tuple[Destination, Callable[[str], bytes]]


@pytest.fixture(params=["memory", "folder", "dicom", "dicomweb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """A destination that works, and how to read an object's data set back out of it."""
    if request.param == "memory":
        memory = MemoryDestination()
        return memory, lambda uid: _without_header(memory.received[uid])
    if request.param == "folder":
        folder = tmp_path / "folder"
        folder.mkdir()
        config = FolderDestination(kind="folder", path=folder)
        return open_destination("folder", config), lambda uid: data_set_bytes(
            next(folder.rglob(f"{uid}.dcm"))
        )
    if request.param == "dicom":
        storescp = request.getfixturevalue("storescp")
        return dicom(storescp.port, "DCMTK"), lambda uid: data_set_bytes(
            next(storescp.folder.glob(f"*{uid}*"))
        )
    orthanc = request.getfixturevalue("orthanc")
    return dicomweb(orthanc.dicomweb_url), lambda uid: _from_orthanc(orthanc, uid)


def _without_header(content: bytes) -> bytes:
    return content[144 + int.from_bytes(content[140:144], "little") :]


def _from_orthanc(orthanc: neighbours.Orthanc, uid: str) -> bytes:
    found = orthanc.post(
        "/tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": uid}}
    ).json()
    return _without_header(orthanc.file(found[0]))


class TestEveryDestination:
    """What holds for all destinations."""

    def test_delivers_the_data_set_unchanged(self, opened, tmp_path):
        """The object arrives byte for byte, and the receipt names it."""
        destination, read_back = opened
        path = write_small_ct(tmp_path)
        receipt = destination.send(path)
        assert receipt.sop_instance_uid == path.stem
        assert receipt.destination == destination.name
        assert 0 < receipt.seconds < 20
        assert read_back(path.stem) == data_set_bytes(path)

    def test_again_is_harmless(self, opened, tmp_path):
        """A second delivery of the same object succeeds and changes nothing."""
        destination, read_back = opened
        path = write_small_ct(tmp_path)
        assert destination.send(path).sop_instance_uid == destination.send(path).sop_instance_uid
        assert read_back(path.stem) == data_set_bytes(path)

    def test_test(self, opened):
        """The check says in words that the destination is there."""
        destination, _ = opened
        assert destination.name in destination.test()

    def test_no_dicom_file(self, opened, tmp_path):
        """What is no DICOM file is never sent."""
        path = tmp_path / "notes.txt"
        path.write_text("not an image" * 20, encoding="utf-8")
        with pytest.raises(InputError, match="no DICOM file"):
            opened[0].send(path)

    def test_file_gone(self, opened, tmp_path):
        """A file that is not there is a fault of our disk and is tried again."""
        with pytest.raises(StorageError, match="cannot read"):
            opened[0].send(tmp_path / "gone.dcm")


class TestDicom:
    @pytest.mark.parametrize(
        "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm"]
    )
    def test_transfer_syntax_of_the_file(self, scripted, name):
        """A compressed object goes out as it is."""
        path = neighbours.bundled_file(name)
        with scripted.serving() as port:
            assert dicom(port).send(path).answer == "0000: stored"
        assert scripted.data_sets == [data_set_bytes(path)]

    def test_orthanc(self, orthanc, tmp_path):
        """Orthanc takes a C-STORE and has the instance afterwards."""
        path = write_small_ct(tmp_path)
        assert dicom(orthanc.dicom_port, "ORTHANC").send(path).status == "0000"
        assert path.stem in orthanc.instances()

    def test_orthanc_takes_every_kind_of_result(self, orthanc, tmp_path):
        """It has each object afterwards, byte for byte."""
        series = write_series(tmp_path / "series", shape=(6, 16, 16))
        context = replace(result_context("1.2.3.77"), also=frozenset(OnDemand))
        reading = reading_of(series, result_of(series.mask()), context)
        assert set(OnDemand) <= set(reading.files)
        for kind, content in reading.files.items():
            path = tmp_path / f"{kind}.dcm"
            path.write_bytes(content)
            uid = dicom(orthanc.dicom_port, "ORTHANC").send(path).sop_instance_uid
            assert _from_orthanc(orthanc, uid) == _without_header(content), kind

    @pytest.mark.parametrize(
        ("status", "error", "retryable", "words"),
        [
            (0xA700, StoreRefusedError, True, "A700: out of resources"),
            (0xA712, StoreRefusedError, True, "A712: out of resources"),
            (0xA900, StoreRefusedError, False, "A900: the data set does not match"),
            (0xC000, StoreRefusedError, False, "C000: cannot understand"),
            (0x0110, StoreRefusedError, False, "0110: processing failure"),
            (0x0122, StoreRefusedError, False, "0122: SOP class not supported"),
            (0x0124, StoreRefusedError, False, "0124: not authorised"),
            ("silence", DestinationUnavailableError, True, "no answer"),
            ("abort", DestinationUnavailableError, True, "no answer"),
        ],
    )
    def test_refusal(self, scripted, tmp_path, status, error, retryable, words):
        """Each failure has its class, its words, and whether to try again."""
        scripted.script = [status]
        patience = 1.5 if status == "silence" else 5.0
        with scripted.serving() as port, pytest.raises(error, match=words) as caught:
            dicom(port, timeout_seconds=patience).send(write_small_ct(tmp_path))
        assert caught.value.retryable is retryable
        assert caught.value.hint

    @pytest.mark.parametrize(
        ("status", "words"),
        [(0xB000, "coerced"), (0xB006, "discarded"), (0xB007, "does not match")],
    )
    def test_warning_is_delivered_and_named(self, scripted, tmp_path, status, words):
        """An object stored with a warning is delivered; the receipt says which."""
        scripted.script = [status]
        with scripted.serving() as port:
            receipt = dicom(port).send(write_small_ct(tmp_path))
        assert receipt.status == f"{status:04X}"
        assert words in receipt.meaning

    def test_no_context_for_label_map(self, tmp_path):
        """A peer without LABELMAP rejects it by name, and is not asked again."""
        scripted = ScriptedScp([CT])
        path = write_small_ct(tmp_path, SOPClassUID=LABEL_MAP)
        with (
            scripted.serving() as port,
            pytest.raises(AssociationRejectedError, match="Label Map Segmentation") as caught,
        ):
            dicom(port).send(path)
        assert not caught.value.retryable

    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            ("require_calling_aet", "calling AE title not recognised"),
            ("require_called_aet", "called AE title not recognised"),
        ],
    )
    def test_rejected(self, scripted, tmp_path, setting, words):
        """The reason of a rejection stands in the error, in words."""
        value = ["SOMEBODY"] if setting == "require_calling_aet" else True
        setattr(scripted.ae, setting, value)
        with scripted.serving() as port, pytest.raises(AssociationRejectedError, match=words):
            dicom(port, "NOT-IT").send(write_small_ct(tmp_path))

    def test_rejected_before_anybody_looks(self, scripted):
        """The reason stands in the error also if the answer and its end come at once."""
        scripted.ae.require_calling_aet = ["SOMEBODY"]
        with scripted.serving() as port:
            peer = Peer("scp", "127.0.0.1", port, "SCRIPTED", "WETREAD", 5)
            late = (evt.EVT_REQUESTED, until_disconnected)
            with (
                pytest.raises(AssociationRejectedError, match="calling AE title not recognised"),
                open_association(peer, [(CT, ["1.2.840.10008.1.2.1"])], handlers=[late]),
            ):
                pytest.fail("it was not rejected")

    def test_local_limit_is_tried_again(self, scripted, tmp_path):
        """A peer that has no room just now is unavailable, not refusing."""
        scripted.ae.maximum_associations = 1
        with scripted.serving() as port:
            peer = Peer("first", "127.0.0.1", port, "SCRIPTED", "FIRST", 5)
            with (
                open_association(peer, [(CT, ["1.2.840.10008.1.2.1"])]),
                pytest.raises(DestinationUnavailableError, match="local limit exceeded"),
            ):
                dicom(port).send(write_small_ct(tmp_path))

    @pytest.mark.parametrize("method", ["send", "test"])
    def test_connection_refused(self, tmp_path, method):
        """Nobody there: unavailable, for a store and for the check."""
        destination = dicom(free_port())
        arguments = [write_small_ct(tmp_path)] if method == "send" else []
        with pytest.raises(DestinationUnavailableError, match="cannot be reached"):
            getattr(destination, method)(*arguments)

    def test_silent_host(self, tmp_path):
        """A host that accepts and says nothing is given up after the time-out, thread and all."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            before = threading.active_count()
            destination = dicom(server.getsockname()[1], timeout_seconds=0.3)
            started = time.monotonic()
            with pytest.raises(DestinationUnavailableError):
                destination.send(write_small_ct(tmp_path))
            assert time.monotonic() - started < 3
            time.sleep(0.2)
            assert threading.active_count() <= before

    def test_unknown_host(self, tmp_path):
        """A name without an address is unavailable, not a crash."""
        config = DicomDestination(
            kind="dicom", host="no-such-host.invalid", port=104, called_ae_title="PACS"
        )
        with pytest.raises(DestinationUnavailableError, match="cannot be resolved"):
            open_destination("pacs", config).send(write_small_ct(tmp_path))


@contextmanager
def http_server(status: int, body: str, seen: list[str] | None = None) -> Iterator[str]:
    """Answers everything with `status` and `body`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            if seen is not None:
                seen.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
        server.shutdown()
        thread.join()


def failed(reason: int) -> str:
    return f'{{"00081198": {{"vr": "SQ", "Value": [{{"00081197": {{"vr": "US", "Value": [{reason}]}}}}]}}}}'  # noqa: E501


class TestDicomweb:
    @pytest.mark.parametrize("status", [200, 202, 409])
    @pytest.mark.parametrize(("reason", "retryable"), [(0xA700, True), (0xC000, False), (0, False)])
    def test_failed_sequence_counts(self, tmp_path, status, reason, retryable):
        """An object in the Failed SOP Sequence is not stored, whatever the HTTP status says."""
        with (
            http_server(status, failed(reason)) as url,
            pytest.raises(StoreRefusedError) as caught,
        ):
            dicomweb(url).send(write_small_ct(tmp_path))
        assert caught.value.retryable is retryable

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, DeliveryError),
            (401, DeliveryError),
            (404, DeliveryError),
            (409, DeliveryError),
            (415, DeliveryError),
            (202, DeliveryError),
            (408, DestinationUnavailableError),
            (429, DestinationUnavailableError),
            (500, DestinationUnavailableError),
            (503, DestinationUnavailableError),
        ],
    )
    def test_status(self, tmp_path, status, error):
        """4xx is for good, 5xx is tried again, and a 202 that names nothing proves nothing."""
        with http_server(status, "{}") as url, pytest.raises(WetreadError) as caught:
            dicomweb(url).send(write_small_ct(tmp_path))
        assert type(caught.value) is error
        assert str(status) in str(caught.value)

    def test_warning_is_named(self, tmp_path):
        """A warning reason in the answer stands in the receipt."""
        path = write_small_ct(tmp_path)
        body = (
            '{"00081199": {"vr": "SQ", "Value": [{'
            f'"00081155": {{"vr": "UI", "Value": ["{path.stem}"]}}, '
            '"00081196": {"vr": "US", "Value": [45056]}}]}}'
        )
        with http_server(202, body) as url:
            receipt = dicomweb(url).send(path)
        assert receipt.answer == "HTTP 202: stored, some elements were coerced"

    def test_refused_connection(self, tmp_path):
        """Nobody there is unavailable."""
        with pytest.raises(DestinationUnavailableError, match="cannot be reached"):
            dicomweb(f"http://127.0.0.1:{free_port()}/dicom-web").send(write_small_ct(tmp_path))

    def test_silent_server(self, tmp_path):
        """A server that does not answer is unavailable after the time-out."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(DestinationUnavailableError):
                dicomweb(url, timeout_seconds=0.3).send(write_small_ct(tmp_path))

    def test_token_and_password(self, tmp_path):
        """Credentials come from files and go into the header."""
        secret = tmp_path / "secret"
        secret.write_text("opensesame\n", encoding="utf-8")
        seen: list[str] = []
        with http_server(200, "[]", seen) as url:
            dicomweb(url, token_file=secret).test()
            dicomweb(url, user="u", password_file=secret).test()
        assert seen == ["Bearer opensesame", "Basic dTpvcGVuc2VzYW1l"]


class TestFolder:
    def test_missing_folder(self, tmp_path):
        """A folder that is not mounted is not made up, and is tried again."""
        config = FolderDestination(kind="folder", path=tmp_path / "share")
        destination = open_destination("share", config)
        with pytest.raises(DestinationUnavailableError, match="does not exist"):
            destination.send(write_small_ct(tmp_path))
        with pytest.raises(DestinationUnavailableError):
            destination.test()
        assert not (tmp_path / "share").exists()

    def test_place(self, tmp_path):
        """<study>/<series>/<sop>.dcm"""
        config = FolderDestination(kind="folder", path=tmp_path)
        path = write_small_ct(tmp_path)
        open_destination("folder", config).send(path)
        dataset = dcmread(path)
        assert (
            tmp_path / dataset.StudyInstanceUID / dataset.SeriesInstanceUID / path.name
        ).read_bytes() == path.read_bytes()


class TestMemory:
    def test_fails_as_told(self, tmp_path):
        """It fails so many times, then keeps the object."""
        destination = MemoryDestination(failures=2)
        path = write_small_ct(tmp_path)
        for _ in range(2):
            with pytest.raises(DestinationUnavailableError):
                destination.send(path)
        assert destination.send(path).status == "kept"
        assert destination.sends == 3

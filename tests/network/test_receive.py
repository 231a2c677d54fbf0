"""Instances from dcmtk, pynetdicom and Orthanc into our listener."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE
from pynetdicom.presentation import build_context
from structlog.testing import capture_logs

from gateway import eventually
from network import neighbours
from network.neighbours import data_set_bytes, storescu, write_small_ct
from wetread import metrics
from wetread.config import ListenerConfig
from wetread.dicom.network import Peer, echo, open_association
from wetread.receive.listener import MAXIMUM_SILENT_CONNECTIONS, Listener
from wetread.receive.spool import Spool

ENCODINGS = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_jp2klossless.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "liver_1frame.dcm",
    "rtdose_rle.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
]
IMPLICIT = "1.2.840.10008.1.2"
HTJ2K = ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"]


def peer(listener: Listener, calling: str = "SENDER", called: str = "WETREAD") -> Peer:
    return Peer("wetread", "127.0.0.1", listener.port, called, calling, timeout_seconds=5)


def send(listener: Listener, path: Path, calling: str = "SENDER") -> tuple[int | None, str]:
    """By pynetdicom, in the file's own transfer syntax: status and Error Comment."""
    meta = read_file_meta_info(path)
    contexts = [(str(meta.MediaStorageSOPClassUID), [str(meta.TransferSyntaxUID)])]
    with open_association(peer(listener, calling), contexts) as association:
        answer = association.send_c_store(path)
    return answer.get("Status"), str(answer.get("ErrorComment", ""))


def counted(metric: object, *labels: str) -> float:
    return float(metric.labels(*labels)._value.get())  # type: ignore[attr-defined]


class TestEcho:
    def test_dcmtk(self, listener):
        """dcmtk's echoscu is answered."""
        answer = neighbours.run(
            neighbours.ECHOSCU, "-aec", "WETREAD", "127.0.0.1", str(listener.port)
        )
        assert answer.returncode == 0, answer.stderr

    def test_pynetdicom(self, listener):
        """Our own C-ECHO is answered."""
        assert "answers a C-ECHO" in echo(peer(listener))


class TestStore:
    def test_dcmtk_storescu(self, listener, recorder, tmp_path):
        """dcmtk's storescu delivers several instances in one association."""
        files = [write_small_ct(tmp_path) for _ in range(5)]
        answer = storescu(listener.port, files)
        assert answer.returncode == 0, answer.stderr
        assert [data_set_bytes(i.path) for i in recorder.instances] == [
            data_set_bytes(path) for path in files
        ]
        assert {i.calling_ae_title for i in recorder.instances} == {"STORESCU"}
        assert {i.called_ae_title for i in recorder.instances} == {"WETREAD"}

    @pytest.mark.parametrize("name", ENCODINGS)
    def test_every_encoding_as_sent(self, listener, recorder, name):
        """The data set on disk is byte for byte what was sent, in the transfer syntax sent."""
        path = neighbours.bundled_file(name)
        assert send(listener, path) == (0x0000, "")
        (instance,) = recorder.instances
        assert data_set_bytes(instance.path) == data_set_bytes(path)
        assert instance.transfer_syntax_uid == dcmread(path).file_meta.TransferSyntaxUID
        reread = dcmread(instance.path)
        assert reread.SOPInstanceUID == instance.sop_instance_uid
        assert reread.file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid

    @pytest.mark.parametrize("syntax", HTJ2K)
    def test_htj2k(self, listener, recorder, tmp_path, syntax):
        """HTJ2K is stored without a look at its pixels."""
        dataset = dcmread(neighbours.bundled_file("MR_small_jp2klossless.dcm"))
        dataset.file_meta.TransferSyntaxUID = syntax
        path = tmp_path / "htj2k.dcm"
        dataset.save_as(path, enforce_file_format=True)
        assert send(listener, path)[0] == 0x0000
        assert data_set_bytes(recorder.instances[0].path) == data_set_bytes(path)

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("MR_small_jpeg_ls_lossless.dcm", ["-xt"]),
            ("MR_small_jp2klossless.dcm", ["-xv"]),
            ("MR_small_RLE.dcm", ["-xr"]),
            ("image_dfl.dcm", ["-xd"]),
        ],
    )
    def test_compressed_from_dcmtk(self, listener, recorder, name, options):
        """Compressed data sets from storescu arrive with the transfer syntax of the file."""
        path = neighbours.bundled_file(name)
        answer = storescu(listener.port, [path], *options)
        assert answer.returncode == 0, answer.stderr
        (instance,) = recorder.instances
        assert instance.transfer_syntax_uid == dcmread(path).file_meta.TransferSyntaxUID
        assert dcmread(instance.path).PixelData == dcmread(path).PixelData

    def test_larger_than_memory_limit(self, listener, recorder, tmp_path):
        """A data set of 20 MB goes over a file without a name and arrives whole."""
        dataset = dcmread(neighbours.bundled_file("CT_small.dcm"))
        dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 20, 1024, 512
        dataset.PixelData = bytes(range(256)) * 4096 * 20
        path = tmp_path / "large.dcm"
        dataset.save_as(path, enforce_file_format=True)
        assert storescu(listener.port, [path]).returncode == 0
        assert dcmread(recorder.instances[0].path).PixelData == dataset.PixelData
        assert list((tmp_path / "spool" / "incoming").iterdir()) == []

    def test_from_orthanc(self, listener, recorder, orthanc, tmp_path):
        """Orthanc sends what it was given."""
        path = write_small_ct(tmp_path)
        identifier = orthanc.upload(path)
        orthanc.know_modality("wetread", "WETREAD", listener.port)
        answer = orthanc.post("/modalities/wetread/store", identifier)
        assert answer.status_code == 200, answer.text
        assert [i.calling_ae_title for i in recorder.instances] == ["ORTHANC"]
        assert data_set_bytes(recorder.instances[0].path) == data_set_bytes(path)

    def test_private_sop_class(self, spool, recorder, tmp_path):
        """A private class is taken if the configuration names it."""
        private = "1.3.6.1.4.1.99999.1.2.3"
        path = write_small_ct(tmp_path, SOPClassUID=private)
        config = ListenerConfig(
            port=0, accept_calling_ae_titles=("*",), private_sop_classes=(private,)
        )
        door = Listener(config, spool, recorder)
        door.start()
        try:
            assert send(door, path) == (0x0000, "")
        finally:
            door.stop()
        assert recorder.instances[0].sop_class_uid == private

    def test_transfer_syntax_preference_is_the_senders(self, listener):
        """Of several transfer syntaxes in one context the first that we know is taken."""
        application = AE(ae_title="SENDER")
        proposed = ["1.2.3.4.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1"]
        association = application.associate(
            "127.0.0.1",
            listener.port,
            [build_context("1.2.840.10008.5.1.4.1.1.2", proposed)],
            ae_title="WETREAD",
        )
        accepted = [context.transfer_syntax for context in association.accepted_contexts]
        association.release()
        assert accepted == [["1.2.840.10008.1.2.4.80"]]


class TestDuplicates:
    def test_same_bytes_once(self, listener, recorder, tmp_path):
        """The same object twice is one file, and both are acknowledged."""
        path = write_small_ct(tmp_path)
        assert [send(listener, path)[0], send(listener, path)[0]] == [0, 0]
        assert [file.is_new for file in recorder.files] == [True, False]
        assert recorder.files[0].path == recorder.files[1].path

    def test_other_bytes_beside(self, listener, recorder, tmp_path):
        """Another object under the same UID is kept beside the first."""
        path = write_small_ct(tmp_path)
        assert send(listener, path)[0] == 0
        dataset = dcmread(path)
        dataset.StudyDescription = "another"
        dataset.save_as(path)
        assert [send(listener, path)[0], send(listener, path)[0]] == [0, 0]
        first, second, third = recorder.files
        assert second.path == first.path.with_name(f"{first.path.stem}.{second.sha256[:8]}.dcm")
        assert third.path == second.path
        assert len(list(first.path.parent.iterdir())) == 2


class TestRefusals:
    def test_attribute_missing(self, listener, recorder, tmp_path):
        """An object without its study is refused, and the comment says why."""
        path = write_small_ct(tmp_path, StudyInstanceUID="")
        status, comment = send(listener, path)
        assert status == 0xA900
        assert comment == "Study Instance UID (0020,000D) is missing"
        assert recorder.instances == []

    def test_hostile_uid(self, listener, spool, tmp_path):
        """A UID that is a path leaves no file."""
        path = write_small_ct(tmp_path)
        content = path.read_bytes()
        uid = str(dcmread(path).SeriesInstanceUID).encode()
        path.write_bytes(content.replace(uid, b"../../../x".ljust(len(uid), b"y")))
        status, comment = send(listener, path)
        assert status == 0xC000
        assert "is not a UID" in comment
        assert list(spool.received_folder.rglob("*")) == []

    def test_announced_as_another_instance(self, listener, tmp_path):
        """PS3.4 B.2.3: the instance of the command must be that of the data set."""
        path = write_small_ct(tmp_path)
        dataset = dcmread(path)
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.save_as(path, enforce_file_format=False)
        status, comment = send(listener, path)
        assert status == 0xA900
        assert "announced as 1.2.3" in comment or comment.startswith("SOP Instance UID is")

    def test_garbage(self, listener, tmp_path):
        """Bytes that are no data set are refused and the next instance is taken."""
        path = write_small_ct(tmp_path)
        start = path.read_bytes()
        end = len(start) - len(data_set_bytes(path))
        broken = tmp_path / "broken.dcm"
        broken.write_bytes(start[:end] + b"\x08\x00\x05\x00CS\xff\xff" + b"\xff" * 5000)
        assert send(listener, broken)[0] in (0xC000, 0xA900)
        assert send(listener, path)[0] == 0x0000

    def test_disk_short(self, listener_config, recorder, tmp_path):
        """Too little free space answers A700 and leaves nothing."""
        spool = Spool(tmp_path / "spool", min_free_bytes=1 << 60)
        door = Listener(listener_config, spool, recorder)
        door.start()
        try:
            status, comment = send(door, write_small_ct(tmp_path))
            spool.min_free_bytes = 0
            again, _ = send(door, write_small_ct(tmp_path))
        finally:
            door.stop()
        assert status == 0xA700
        assert "bytes free" in comment or comment.startswith("spool ")
        assert again == 0x0000
        assert len([p for p in spool.path.rglob("*") if p.is_file()]) == 1

    def test_unforeseen_error(self, listener, recorder, tmp_path):
        """A fault of our own is a failure for the sender, is counted, and the door stays open."""
        recorder.error = ZeroDivisionError("a bug")
        before = counted(metrics.INSTANCES_REFUSED, "other", "unexpected")
        with capture_logs() as events:
            assert send(listener, write_small_ct(tmp_path)) == (0x0110, "internal error")
        assert counted(metrics.INSTANCES_REFUSED, "other", "unexpected") == before + 1
        assert "instance refused" in {event["event"] for event in events}
        recorder.error = None
        assert send(listener, write_small_ct(tmp_path))[0] == 0x0000

    def test_refused_context_is_counted_and_named(self, listener):
        """A SOP class that we do not take is refused, counted, and named in the log."""
        worklist = "1.2.840.10008.5.1.4.31"
        name = "Modality Worklist Information Model - FIND"
        before = counted(metrics.CONTEXTS_REFUSED, "other", name)
        contexts = [(worklist, ["1.2.840.10008.1.2"]), ("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]
        with capture_logs() as events, open_association(peer(listener), contexts) as association:
            assert [cx.abstract_syntax for cx in association.rejected_contexts] == [worklist]
        assert counted(metrics.CONTEXTS_REFUSED, "other", name) == before + 1
        refused = [e for e in events if e["event"] == "presentation context refused"]
        assert [(e["abstract_syntax"], e["reason"]) for e in refused] == [
            (worklist, "abstract syntax")
        ]


class TestCallers:
    @pytest.mark.parametrize("listener_config", [ListenerConfig(port=0)])
    def test_empty_list_lets_nobody_in(self, listener, tmp_path):
        """Without a list of callers every association is rejected."""
        answer = storescu(listener.port, [write_small_ct(tmp_path)])
        assert answer.returncode != 0
        assert "Calling AE Title Not Recognized" in answer.stderr

    @pytest.mark.parametrize(
        "listener_config", [ListenerConfig(port=0, accept_calling_ae_titles=("CT1",))]
    )
    def test_list(self, listener, tmp_path):
        """A caller on the list is let in, and nobody else."""
        path = write_small_ct(tmp_path)
        assert storescu(listener.port, [path], calling="CT1").returncode == 0
        assert storescu(listener.port, [path], calling="CT2").returncode != 0

    def test_called_title(self, listener):
        """A caller must know our name."""
        answer = neighbours.run(
            neighbours.ECHOSCU, "-aec", "OTHER", "127.0.0.1", str(listener.port)
        )
        assert "Called AE Title Not Recognized" in answer.stderr

    def test_open_callers(self, listener, recorder):
        """Assembly can see who is connected, and is told when one leaves."""
        with open_association(peer(listener, "MR1"), [("1.2.840.10008.1.1", [IMPLICIT])]):
            assert listener.open_callers() == {"MR1"}
        eventually(lambda: recorder.ended == ["MR1"])
        assert listener.open_callers() == frozenset()


class TestLoad:
    def test_forty_senders(self, listener, recorder, tmp_path):
        """40 senders at once lose nothing."""
        files = [write_small_ct(tmp_path) for _ in range(40)]
        with ThreadPoolExecutor(40) as pool:
            statuses = list(pool.map(lambda path: send(listener, path)[0], files))
        assert statuses == [0x0000] * 40
        assert {i.sop_instance_uid for i in recorder.instances} == {p.stem for p in files}

    @pytest.mark.parametrize("silent", [100, MAXIMUM_SILENT_CONNECTIONS + 50])
    def test_echo_beside_silent_sockets(self, listener, silent):
        """Sockets that send nothing do not keep a C-ECHO waiting for 2 s."""
        sockets = [
            socket.create_connection(("127.0.0.1", listener.port), timeout=5) for _ in range(silent)
        ]
        try:
            started = time.monotonic()
            assert echo(peer(listener))
            assert time.monotonic() - started < 2
        finally:
            for connection in sockets:
                connection.close()

    @pytest.mark.parametrize(
        "listener_config",
        [ListenerConfig(port=0, accept_calling_ae_titles=("*",), max_associations=1)],
    )
    def test_limit(self, listener, tmp_path):
        """One association too many is rejected as a passing state."""
        with open_association(peer(listener), [("1.2.840.10008.1.1", [IMPLICIT])]):
            answer = storescu(listener.port, [write_small_ct(tmp_path)])
        assert "Local Limit Exceeded" in answer.stderr
        assert "Transient" in answer.stderr

    @pytest.mark.parametrize(
        "listener_config",
        [ListenerConfig(port=0, accept_calling_ae_titles=("*",), idle_timeout_seconds=0.3)],
    )
    def test_idle_association_is_aborted(self, listener):
        """A caller that stays silent loses its place."""
        application = AE(ae_title="SENDER")
        application.add_requested_context("1.2.840.10008.1.1")
        association = application.associate("127.0.0.1", listener.port, ae_title="WETREAD")
        assert association.is_established
        association.join(5)
        assert association.is_aborted
        eventually(lambda: not listener.open_callers())


class TestProtocol:
    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x01\x00\x00\x00\x00\x08garbage!",
            b"\x01\x00\xff\xff\xff\xff",
            b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03",
        ],
    )
    def test_noise(self, listener, data):
        """Whatever comes instead of a request is answered with an abort, and the door stays."""
        with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as connection:
            connection.sendall(data)
            assert connection.recv(10)[:1] in (b"\x07", b"")
        assert echo(peer(listener))

    def test_sender_dies_in_the_middle(self, listener, recorder, spool, tmp_path):
        """An instance that never ended leaves nothing behind."""
        path = write_small_ct(tmp_path)
        contexts = [("1.2.840.10008.5.1.4.1.1.2", ["1.2.840.10008.1.2.1"])]
        with open_association(peer(listener), contexts) as association:
            context_id = association.accepted_contexts[0].context_id
            value = bytes([context_id, 0]) + data_set_bytes(path)[:1000]
            pdu = len(value).to_bytes(4, "big") + value
            association.dul.socket.send(b"\x04\x00" + len(pdu).to_bytes(4, "big") + pdu)
            association.abort()
        assert send(listener, path)[0] == 0x0000
        assert len(recorder.instances) == 1
        assert len([p for p in spool.path.rglob("*") if p.is_file()]) == 1

    def test_stop_ends_open_associations(self, spool, recorder, listener_config):
        """A stop does not wait for callers that stay."""
        door = Listener(listener_config, spool, recorder)
        door.start()
        connection = socket.create_connection(("127.0.0.1", door.port), timeout=5)
        started = time.monotonic()
        door.stop()
        assert time.monotonic() - started < 2
        connection.close()


def test_log_names_no_patient(listener, tmp_path):
    """Neither the name nor the id of a patient stands in the log."""
    good = write_small_ct(tmp_path, PatientName="Secret^Name", PatientID="SECRET-ID")
    bad = write_small_ct(
        tmp_path, PatientName="Secret^Name", PatientID="SECRET-ID", SeriesInstanceUID=""
    )
    with capture_logs() as events:
        assert send(listener, good)[0] == 0x0000
        assert send(listener, bad)[0] == 0xA900
    assert events
    assert "secret" not in str(events).lower()

"""Real neighbours on loopback: dcmtk, Orthanc, and an SCP that fails as it is told."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import uvicorn
from fastapi import FastAPI
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

from wetread.dicom.network import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, VERIFICATION_SOP_CLASS

ECHOSCU, STORESCU, STORESCP = "/usr/bin/echoscu", "/usr/bin/storescu", "/usr/bin/storescp"
ORTHANC = "/usr/sbin/Orthanc"
DICOMWEB_PLUGINS = tuple(Path("/usr/lib/orthanc").glob("libOrthancDicomWeb.so*"))

Handler = Callable[[evt.Event], object]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bundled_file(name: str) -> Path:
    """A file in pydicom's wheel."""
    path = get_testdata_file(name, download=False)
    assert path is not None, name
    return Path(str(path))


def data_set_bytes(path: Path) -> bytes:
    """What follows the file meta information, as it lies in the file."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def write_small_ct(folder: Path, **changes: str) -> Path:
    """A valid CT of its own; `changes` are attributes by keyword."""
    dataset = dcmread(bundled_file("CT_small.dcm"))
    dataset.SOPInstanceUID = generate_uid()
    # dcmtk's sender leaves the padding out.
    del dataset.DataSetTrailingPadding
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def run(*command: str | Path, timeout_seconds: float = 15) -> subprocess.CompletedProcess[str]:
    """Run to the end and keep the output; small packets go out at once."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_seconds,
        env=environment,
    )


def storescu(
    port: int, files: Sequence[Path], *options: str, calling: str = "STORESCU"
) -> subprocess.CompletedProcess[str]:
    """Dcmtk's sender against our listener."""
    return run(
        STORESCU, "-v", *options, "-aet", calling, "-aec", "WETREAD", "127.0.0.1", str(port), *files
    )


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, port: int, seconds: float = 15
) -> Iterator[int]:
    """A program that listens on `port` within `seconds`, stopped by its pid in the end."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=output, env=environment
        ) as process,
    ):
        try:
            wait_for_port(port, process, seconds)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nothing listens on port {port} after {seconds} s")


@contextmanager
def http_serving(app: FastAPI, **options: str) -> Iterator[str]:
    """Serve an application of ours; gives its address. `options` are uvicorn's."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="warning", ws="none", **options)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
            assert thread.is_alive()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(5)


@dataclass(frozen=True)
class Storescp:
    port: int
    folder: Path


@contextmanager
def dcmtk_storescp(folder: Path, *options: str) -> Iterator[Storescp]:
    """Dcmtk's receiver; it takes every transfer syntax and keeps the bytes as they come."""
    received = folder / "storescp"
    received.mkdir()
    port = free_port()
    command = [STORESCP, "-aet", "DCMTK", "+xa", "-od", received, *options, str(port)]
    with running(command, folder / "storescp.log", port):
        yield Storescp(port, received)


@dataclass(frozen=True)
class Orthanc:
    dicom_port: int
    http_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        return f"{self.url}/dicom-web"

    def instances(self) -> set[str]:
        """SOP Instance UIDs in the archive."""
        found = httpx.get(f"{self.url}/instances?expand").json()
        return {item["MainDicomTags"]["SOPInstanceUID"] for item in found}

    def upload(self, path: Path) -> str:
        """Orthanc's own id of the instance."""
        answer = httpx.post(f"{self.url}/instances", content=path.read_bytes())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ID"])

    def file(self, identifier: str) -> bytes:
        return httpx.get(f"{self.url}/instances/{identifier}/file").content

    def know_modality(self, name: str, title: str, port: int) -> None:
        answer = httpx.put(f"{self.url}/modalities/{name}", json=[title, "127.0.0.1", port])
        assert answer.status_code == 200, answer.text

    def know_server(self, name: str, url: str) -> None:
        answer = httpx.put(f"{self.url}/dicom-web/servers/{name}", json={"Url": url})
        assert answer.status_code == 200, answer.text

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", content=json.dumps(body), timeout=15)


@contextmanager
def orthanc(folder: Path, again: Orthanc | None = None, **settings: object) -> Iterator[Orthanc]:
    """Orthanc with its DICOMweb plugin. It listens on every address; remote access stays off.

    `again` is one that was stopped: on its ports, and with what it held in the same folder.
    """
    here = again or Orthanc(free_port(), free_port())
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(plugin) for plugin in DICOMWEB_PLUGINS],
        "HttpPort": here.http_port,
        "RemoteAccessAllowed": False,
        "DicomPort": here.dicom_port,
        "DicomAet": "ORTHANC",
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    with running([ORTHANC, path], folder / "orthanc.log", here.http_port):
        yield here


class ScriptedScp:
    """An SCP that answers every C-STORE with the next step of its script.

    A step is a status, or "silence" (no answer for `silence_seconds`), or "abort". The last one
    stays in force. `data_sets` keeps the bytes of what was answered with a status.
    """

    def __init__(self, sop_classes: Sequence[str] = (), silence_seconds: float = 2.0) -> None:
        self.script: list[int | str] = [0x0000]
        self.data_sets: list[bytes] = []
        self._silence_seconds = silence_seconds
        self._stopped = threading.Event()
        self._ae = AE(ae_title="SCRIPTED")
        for uid in [*(sop_classes or sorted(STORAGE_SOP_CLASSES)), VERIFICATION_SOP_CLASS]:
            self._ae.add_supported_context(uid, list(TRANSFER_SYNTAXES))

    @property
    def ae(self) -> AE:
        return self._ae

    @contextmanager
    def serving(self) -> Iterator[int]:
        """The port that it listens on."""
        server = self._ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._answer)]
        )
        assert server is not None
        try:
            yield int(server.server_address[1])
        finally:
            self._stopped.set()
            server.shutdown()
            self._ae.shutdown()

    def _answer(self, event: evt.Event) -> int:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if step == "silence":
            self._stopped.wait(self._silence_seconds)
            return 0x0000
        if step == "abort":
            event.assoc.abort()
            return 0x0000
        assert isinstance(step, int)
        self.data_sets.append(event.encoded_dataset(include_meta=False))
        return step


@contextmanager
def relayed(port: int, target: int) -> Iterator[None]:
    """Whatever comes to `port` goes to `target` and back, for as long as it is open."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", target)) as other:
                back = threading.Thread(target=pump, args=(other, self.request))
                back.start()
                pump(self.request, other)
                back.join()

    def pump(source: socket.socket, drain: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                drain.sendall(content)
        with suppress(OSError):
            drain.shutdown(socket.SHUT_WR)

    class Relay(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Relay(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that vouches for itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


@contextmanager
def grpc_doorkeeper(folder: Path, target: str, token: str) -> Iterator[tuple[str, Path]]:
    """TLS before a gRPC server, for those with the token; gives URL and certificate."""
    key, certificate = write_certificate(folder)
    channel = grpc.insecure_channel(target)

    class Doorkeeper(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            metadata = dict(details.invocation_metadata)
            call = channel.unary_unary(details.method)

            def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
                if metadata.get("authorization") != f"Bearer {token}":
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such token")
                answer: bytes = call(request)
                return answer

            return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Doorkeeper()])
    pair = [(key.read_bytes(), certificate.read_bytes())]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
    server.start()
    yield f"grpcs://127.0.0.1:{port}", certificate
    server.stop(None).wait()
    channel.close()

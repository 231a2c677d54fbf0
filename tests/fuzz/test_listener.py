"""Whatever bytes come, the door stays open and keeps nothing that is not whole."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from structlog.testing import capture_logs

from gateway import eventually
from network.conftest import Recorder
from network.neighbours import storescu, write_small_ct
from strategies import damaged
from wetread.config import ListenerConfig
from wetread.dicom.network import Peer, echo
from wetread.receive.listener import Listener
from wetread.receive.spool import Spool

# pydicom says so of UIDs that it is given; the listener then takes none of them.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

HERE = "127.0.0.1"
_SECONDS = 10.0
# The association request is the first 2 % of such a conversation, and most of what can go wrong.
HEAD = 0.02


def conversation(port: int, path: Path) -> bytes:
    """What dcmtk's sender says to the listener on `port` while it stores `path`."""
    said = bytearray()
    with socket.create_server((HERE, 0)) as between:

        def pass_on() -> None:
            caller, _ = between.accept()
            with caller, socket.create_connection((HERE, port)) as listener:
                back = threading.Thread(target=_copy, args=(listener, caller, bytearray()))
                back.start()
                _copy(caller, listener, said)
                back.join()

        passing = threading.Thread(target=pass_on)
        passing.start()
        sent = storescu(between.getsockname()[1], [path])
        passing.join()
    assert sent.returncode == 0, sent.stderr
    return bytes(said)


def _copy(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            kept += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def say(port: int, data: bytes) -> None:
    """Send it all, and wait until the door has closed the connection.

    Raises TimeoutError if it does not.
    """
    with (
        socket.create_connection((HERE, port), timeout=_SECONDS) as connection,
        suppress(ConnectionError),
    ):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


class Door:
    """A listener, what it recorded, and a conversation that it understands."""

    def __init__(self, folder: Path) -> None:
        self.recorder = Recorder()
        self.spool = Spool(folder / "spool", min_free_bytes=0)
        config = ListenerConfig(port=0, accept_calling_ae_titles=("*",))
        self.listener = Listener(config, self.spool, self.recorder)
        self.listener.start()
        self.conversation = conversation(self.listener.port, write_small_ct(folder))

    def answers(self) -> bool:
        return bool(echo(Peer("door", HERE, self.listener.port, "WETREAD", "FUZZ", 5)))

    def kept(self) -> set[Path]:
        return {path for path in self.spool.path.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    opened = Door(tmp_path_factory.mktemp("door"))
    yield opened
    opened.listener.stop()


@pytest.mark.timeout(0)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_conversation(door: Door, data: st.DataObject) -> None:
    """What was recorded lies whole in the spool, and nothing else does."""
    with capture_logs() as logs:
        say(door.listener.port, data.draw(damaged(door.conversation, HEAD)))
        assert door.answers()
    eventually(lambda: not door.listener.open_callers())
    recorded = {spooled.path for spooled in door.recorder.files}
    eventually(lambda: door.kept() == recorded)
    for instance, spooled in zip(door.recorder.instances, door.recorder.files, strict=True):
        header = dcmread(spooled.path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        assert header.file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
    unforeseen = [each for each in logs if each["log_level"] in ("error", "critical")]
    assert unforeseen == []


@pytest.mark.timeout(0)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(noise=st.binary(max_size=2000))
def test_noise(door: Door, noise: bytes) -> None:
    say(door.listener.port, noise)
    assert door.answers()

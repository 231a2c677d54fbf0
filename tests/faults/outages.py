"""A database that goes away under a gateway, and comes back."""

from __future__ import annotations

import time
from pathlib import Path

from pydicom import dcmread

from faults.hindrances import readers
from faults.ward import DELIVERED, Ward
from gateway import CALLER, eventually
from phantom import write_series
from postgres import PostgresServer
from wetread.dicom.network import Peer, open_association


def answer_to(path: Path, port: int) -> int | None:
    """The status of one C-STORE."""
    header = dcmread(path, stop_before_pixels=True)
    peer = Peer("gateway", "127.0.0.1", port, "WETREAD", CALLER, timeout_seconds=30)
    contexts = [(str(header.SOPClassUID), [str(header.file_meta.TransferSyntaxUID)])]
    with open_association(peer, contexts) as association:
        status: int | None = association.send_c_store(path).get("Status")
    return status


def outlast(ward: Ward, server: PostgresServer, place: Path, seconds: float) -> None:
    """Take the database away under a reading for so long; then everything must go on by itself.

    The model of the ward waits in `place`. No process may end.
    """
    ward.start()
    read = ward.send_a_study()
    eventually(lambda: readers(place), seconds=40)
    began = {each.name: each.pid for each in ward.processes}
    server.stop()
    try:
        began_at = time.monotonic()
        late = write_series(ward.folder / "late", shape=(6, 16, 16), seed="late")
        assert answer_to(late.paths[0], ward.port) == 0xA700
        (place / "go").touch()
        sent = ward.send_a_study()
        time.sleep(max(0.0, seconds - (time.monotonic() - began_at)))
    finally:
        server.start()
    for study in (read, sent):
        ward.wait_for(study, DELIVERED, seconds=150)
    assert {each.name: each.pid for each in ward.processes if each.runs} == began
    ward.kill()
    ward.check()

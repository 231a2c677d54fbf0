"""On a machine that has too much to do an association's thread takes no answer away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.sop_class import Verification

from network.neighbours import ScriptedScp
from wetread.dicom.network import Peer, open_association

ECHOES = 20
TAKE = DIMSEServiceProvider.get_msg


def late_to_go_on(association: Association, value: bool) -> None:
    """The thread has passed where it stands still, and says so later."""
    if not value:
        time.sleep(0.01)
    association.__dict__["is_paused"] = value


def late_to_listen(provider: DIMSEServiceProvider, block: bool = False) -> Any:
    """Whoever sent looks for the answer after it has come."""
    if block:
        time.sleep(0.03)
    return TAKE(provider, block)


def test_each_echo_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = property(lambda association: association.__dict__["is_paused"], late_to_go_on)
    monkeypatch.setattr(Association, "_is_paused", paused, raising=False)
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", late_to_listen)
    with ScriptedScp().serving() as port:
        peer = Peer("scp", "127.0.0.1", port, "SCRIPTED", "WETREAD", timeout_seconds=2)
        contexts = [(Verification, ["1.2.840.10008.1.2"])]
        with open_association(peer, contexts) as association:
            answers = [association.send_c_echo().get("Status") for _ in range(ECHOES)]
    assert answers == [0] * ECHOES

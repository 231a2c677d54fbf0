"""Delivery by C-STORE (PS3.4 Annex B)."""

from __future__ import annotations

import time
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from wetread.config import DicomDestination
from wetread.deliver.base import DeliveryReceipt, StoredObject, read_object
from wetread.deliver.peers import destination_peer
from wetread.dicom.network import echo, judge_store_status, open_association


class CStoreDestination:
    """A C-STORE SCP. One association an object: a lost one costs nothing but itself.

    Raises ConfigError if the files of TLS cannot be used.
    """

    def __init__(self, name: str, config: DicomDestination) -> None:
        self.name = name
        self._peer = destination_peer(name, config)

    def send(self, object_path: Path) -> DeliveryReceipt:
        """Store the data set as the file has it, in the file's transfer syntax.

        Raises AssociationRejectedError if the peer does not know us or does not take this SOP
        class in this transfer syntax, StoreRefusedError for a failure status, and
        DestinationUnavailableError if it cannot be reached or gives no answer.
        """
        started = time.perf_counter()
        found = read_object(object_path)
        contexts = [(found.sop_class_uid, [found.transfer_syntax_uid])]
        with open_association(self._peer, contexts) as association:
            answer = _stored(association, found)
        status = answer.get("Status")
        meaning = judge_store_status(
            status,
            sop_instance_uid=found.sop_instance_uid,
            destination=self._peer.address,
            comment=str(answer.get("ErrorComment", "")),
        )
        return DeliveryReceipt(
            destination=self.name,
            sop_instance_uid=found.sop_instance_uid,
            status=f"{status:04X}",
            meaning=meaning,
            seconds=time.perf_counter() - started,
        )

    def test(self) -> str:
        """A C-ECHO. Raises DestinationUnavailableError or AssociationRejectedError."""
        return echo(self._peer)


def _stored(association: Association, found: StoredObject) -> Dataset:
    """The response; empty if there is none, as after a time-out."""
    try:
        return association.send_c_store(found.path)
    except RuntimeError:
        # The peer ended the association between its answer and our request.
        return Dataset()

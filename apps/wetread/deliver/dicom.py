"""Delivery by C-STORE (PS3.4 Annex B)."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from wetread.config import DicomDestination
from wetread.deliver.base import DeliveryReceipt, StoredObject, read_object
from wetread.dicom.network import Peer, echo, judge_store_status, open_association
from wetread.dicom.tls import calling_context


class CStoreDestination:
    """A C-STORE SCP. One association an object: a lost one costs nothing but itself.

    Raises ConfigError if the files of TLS cannot be used.
    """

    def __init__(self, name: str, config: DicomDestination) -> None:
        self.name = name
        self._peer = Peer(
            name=name,
            host=config.host,
            port=config.port,
            called_ae_title=config.called_ae_title,
            calling_ae_title=config.calling_ae_title,
            timeout_seconds=config.timeout_seconds,
            tls=_tls_of(config),
            certificate_name=config.certificate_name,
        )

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


def _tls_of(config: DicomDestination) -> ssl.SSLContext | None:
    if not config.tls:
        return None
    return calling_context(config.ca_file, config.certificate_file, config.key_file)


def _stored(association: Association, found: StoredObject) -> Dataset:
    """The response; empty if there is none, as after a time-out."""
    try:
        return association.send_c_store(found.path)
    except RuntimeError:
        # The peer ended the association between its answer and our request.
        return Dataset()

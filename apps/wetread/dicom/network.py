"""What receiving and delivering share: SOP classes, transfer syntaxes, statuses, associations.

Calls of pynetdicom that report a refusal by a flag or by an empty answer raise here instead.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import AllStoragePresentationContexts, build_context

from wetread.dicom.checkpoint import Checkpoint
from wetread.dicom.tls import handshake_failure
from wetread.errors import (
    AssociationRejectedError,
    DestinationUnavailableError,
    StoreRefusedError,
)
from wetread.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# Its handlers write AE titles, UIDs and whole identifiers to the log; we log our own events.
_config.LOG_HANDLER_LEVEL = "none"
# A file goes out as its own bytes; otherwise pynetdicom decodes and encodes the data set anew.
_config.STORE_SEND_CHUNKED_DATASET = True
# What it logs as an error reaches the caller as an exception.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

MAXIMUM_PDU_BYTES = 131_072
CONTEXTS_PER_ASSOCIATION = 128

_STORAGE_ROOTS = ("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.")
# Not of a patient's study (PS3.4 Annex GG), so there is no folder to put them in.
_NON_PATIENT_PREFIXES = ("1.2.840.10008.5.1.4.1.1.200.", "1.2.840.10008.5.1.4.1.1.201.")
LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"


def _storage_sop_classes() -> frozenset[str]:
    named = {
        uid
        for uid, entry in UID_dictionary.items()
        if entry[1] == "SOP Class" and "Storage" in entry[0] and uid.startswith(_STORAGE_ROOTS)
    }
    listed = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    every = named | listed | {LABEL_MAP_SEGMENTATION}
    return frozenset(uid for uid in every if not uid.startswith(_NON_PATIENT_PREFIXES))


STORAGE_SOP_CLASSES = _storage_sop_classes()
"""Every storage SOP class of PS3.4 Annex B, with the retired ones that old archives still send."""

VERIFICATION_SOP_CLASS = "1.2.840.10008.1.1"

# Not Part-10 data sets: MIME and XML, and the real-time video of PS3.22.
_NOT_A_DATA_SET = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.", "1.2.840.10008.1.20")

TRANSFER_SYNTAXES = tuple(
    uid
    for uid, entry in UID_dictionary.items()
    if entry[1] == "Transfer Syntax" and not uid.startswith(_NOT_A_DATA_SET)
)
"""Every transfer syntax of PS3.5 in which a data set can travel, retired ones included."""

# PS3.7 Annex C
_GENERAL_MEANINGS = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class and instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xFE00: "cancelled",
}
# PS3.4 Table B.2-1; 0x0107 and 0x0116 are the warnings of PS3.7 Annex C
_WARNING_MEANINGS = {
    0xB000: "stored, some elements were coerced",
    0xB006: "stored, some elements were discarded",
    0xB007: "stored, although the data set does not match its SOP class",
    0x0107: "stored, with an attribute list error",
    0x0116: "stored, with an attribute value out of range",
}
_FAILURE_RANGES = {
    0xA7: "out of resources",
    0xA9: "the data set does not match its SOP class",
}
_REFUSED_HINTS = {
    0x0122: "let the destination accept this SOP class, or do not send it there",
    0x0124: "let the destination accept our calling AE title",
}


def status_meaning(status: int) -> str:
    """The words for a C-STORE status (PS3.4 Table B.2-1, PS3.7 Annex C)."""
    if status == 0x0000:
        return "stored"
    named = _WARNING_MEANINGS.get(status) or _GENERAL_MEANINGS.get(status)
    if named:
        return named
    if status >> 12 == 0xC:
        return "cannot understand"
    return _FAILURE_RANGES.get(status >> 8, "unknown status")


def is_stored(status: int) -> bool:
    """Whether the peer keeps the object: success or one of the warnings."""
    return status == 0x0000 or status in _WARNING_MEANINGS


def judge_store_status(
    status: int | None, *, sop_instance_uid: str, destination: str, comment: str = ""
) -> str:
    """The meaning of the answer to a C-STORE, if it says that the object is stored.

    Raises StoreRefusedError for a failure status, and DestinationUnavailableError for None:
    an answer without a status is a time-out or an abort, never a success.
    """
    if status is None:
        raise DestinationUnavailableError(
            f"{destination} gave no answer to the store of {sop_instance_uid}",
            hint="look at the destination's log; wetread sends again",
            stage="deliver",
        )
    meaning = status_meaning(status)
    if is_stored(status):
        return meaning
    detail = f", {comment}" if comment else ""
    raise StoreRefusedError(
        f"{destination} refused {sop_instance_uid} with status {status:04X}: {meaning}{detail}",
        status=status,
        hint=_REFUSED_HINTS.get(status, "look at the destination's log for the reason"),
    )


# PS3.8 Table 9-21: (source, reason)
_REJECTION_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_REJECTION_SOURCES = {
    1: "service user",
    2: "service provider (ACSE)",
    3: "service provider (presentation)",
}
_REJECTION_HINTS = {
    (1, 3): "add our calling AE title to the list of the destination",
    (1, 7): "set called_ae_title to the AE title of the destination",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM node, and the AE title under which we call it. Time-outs in seconds.

    With `tls`, its certificate must be of `certificate_name`, else of `host`.
    """

    name: str
    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    timeout_seconds: float = 30.0
    tls: ssl.SSLContext | None = None
    certificate_name: str = ""

    @property
    def address(self) -> str:
        """Host, port and AE title for messages."""
        return f"{self.name} ({self.called_ae_title} at {self.host}:{self.port})"


ProposedContext = tuple[str, Sequence[str]]


@contextmanager
def open_association(
    peer: Peer,
    contexts: Iterable[ProposedContext],
    *,
    handlers: Sequence[Any] = (),
    roles: Sequence[Any] = (),
) -> Iterator[Association]:
    """An established association with `peer`, released at the end (aborted after an exception).

    `handlers` are pynetdicom's, for what the peer asks of us; `roles` other roles than SCU.

    Raises AssociationRejectedError if the peer does not know us or accepts none of `contexts`
    (pairs of SOP class and transfer syntaxes), and DestinationUnavailableError if it refuses the
    connection, aborts, is at its limit, or does not answer in time. See PS3.8 9.3.4.
    """
    opened: list[socket.socket] = []
    association = _requested(peer, contexts, opened, handlers, roles)
    try:
        _check_established(association, peer)
        yield association
    except BaseException:
        association.abort()
        raise
    else:
        association.release()
    finally:
        # Association.kill() waits for a state that a silent peer never lets it reach.
        association.dul.kill_dul()
        # It also forgets the socket of a lost association without closing it.
        for connection in opened:
            connection.close()


def _requested(
    peer: Peer,
    contexts: Iterable[ProposedContext],
    opened: list[socket.socket],
    handlers: Sequence[Any],
    roles: Sequence[Any],
) -> Association:
    application = AE(ae_title=peer.calling_ae_title)
    application.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    application.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    application.acse_timeout = peer.timeout_seconds
    application.dimse_timeout = peer.timeout_seconds
    application.network_timeout = peer.timeout_seconds
    application.connection_timeout = peer.timeout_seconds
    return application.associate(
        _resolved(peer),
        peer.port,
        [build_context(uid, list(syntaxes)) for uid, syntaxes in contexts],
        ae_title=peer.called_ae_title,
        max_pdu=MAXIMUM_PDU_BYTES,
        ext_neg=list(roles),
        evt_handlers=[(evt.EVT_ACSE_SENT, _prepare, [opened]), *handlers],
        tls_args=_tls_arguments(peer, opened),
    )


def _resolved(peer: Peer) -> str:
    try:
        socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DestinationUnavailableError(
            f"{peer.address}: the host name cannot be resolved ({error.strerror})",
            hint="check the name and the DNS server",
            stage="deliver",
        ) from error
    return peer.host


def _prepare(event: evt.Event, opened: list[socket.socket]) -> None:
    """Before the connection is made: no answer gets lost, and small PDUs go out at once.

    Waiting for more to send (without TCP_NODELAY) costs about 40 ms an object.
    """
    if not isinstance(event.assoc._reactor_checkpoint, Checkpoint):
        event.assoc._reactor_checkpoint = Checkpoint(event.assoc)
    link: Any = event.assoc.dul.socket
    if not opened and link is not None and link.socket is not None:
        opened.append(link.socket)
        link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass(frozen=True, slots=True)
class _Noting:
    """Wraps sockets by `tls`, and notes those that it puts in the place of the first."""

    tls: ssl.SSLContext
    opened: list[socket.socket]

    def wrap_socket(self, plain: socket.socket, **options: Any) -> ssl.SSLSocket:
        secured = self.tls.wrap_socket(plain, **options)
        self.opened.append(secured)
        return secured


def _tls_arguments(peer: Peer, opened: list[socket.socket]) -> Any:
    if peer.tls is None:
        return None
    return _Noting(peer.tls, opened), peer.certificate_name or peer.host


def _check_established(association: Association, peer: Peer) -> None:
    if association.is_established:
        return
    answer = _answer(association)
    if answer is not None and answer.result:
        raise _rejection(answer, peer)
    if association.rejected_contexts:
        offered = sorted({_class_name(cx.abstract_syntax) for cx in association.rejected_contexts})
        raise AssociationRejectedError(
            f"{peer.address} accepts none of: {', '.join(offered)}",
            hint="let the destination accept this SOP class in this transfer syntax",
            stage="deliver",
        )
    _check_tls(peer)
    raise DestinationUnavailableError(
        f"{peer.address} cannot be reached: connection refused, aborted or no answer in "
        f"{peer.timeout_seconds:g} s",
        hint="check that it runs, its host and its port",
        stage="deliver",
    )


def _check_tls(peer: Peer) -> None:
    """Name what TLS fails on, if it does: pynetdicom tells it to its log only."""
    if peer.tls is None:
        return
    name = peer.certificate_name or peer.host
    reason = handshake_failure(peer.host, peer.port, peer.tls, name, peer.timeout_seconds)
    if reason is not None:
        raise DestinationUnavailableError(
            f"{peer.address}: no TLS as {name}: {reason}",
            hint="check ca_file, certificate_name, and whether it wants a certificate of ours",
            stage="deliver",
        )


def _answer(association: Association) -> A_ASSOCIATE | None:
    """What the peer said to the request, also where pynetdicom did not look.

    A rejection closes the connection. If it has come and gone before the association's thread
    looks, that thread takes it for a connection that was never made.
    """
    said = association.acceptor.primitive or association.dul.peek_next_pdu()
    return said if isinstance(said, A_ASSOCIATE) else None


def _rejection(
    answer: A_ASSOCIATE, peer: Peer
) -> AssociationRejectedError | DestinationUnavailableError:
    source, reason = int(answer.result_source or 0), int(answer.diagnostic or 0)
    words = _REJECTION_REASONS.get((source, reason), f"reason {reason}")
    message = (
        f"{peer.address} rejected the association of {peer.calling_ae_title}: {words}, "
        f"says the {_REJECTION_SOURCES.get(source, 'peer')}"
    )
    # Source 3 speaks of load: the next try can succeed.
    if source == 3:
        return DestinationUnavailableError(message, hint="wetread sends again", stage="deliver")
    hint = _REJECTION_HINTS.get((source, reason), "look at the destination's log for the reason")
    return AssociationRejectedError(message, hint=hint, stage="deliver")


def _class_name(uid: object) -> str:
    # pydicom's dictionary has no name for it yet.
    if uid == LABEL_MAP_SEGMENTATION:
        return "Label Map Segmentation Storage"
    return UID(str(uid)).name


def echo(peer: Peer) -> str:
    """Ask `peer` with a C-ECHO (PS3.4 Annex A). Raises as `open_association` does."""
    syntaxes = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]
    with open_association(peer, [(VERIFICATION_SOP_CLASS, syntaxes)]) as association:
        answer = association.send_c_echo()
    status = answer.get("Status")
    if status is None:
        raise DestinationUnavailableError(
            f"{peer.address} gave no answer to a C-ECHO in {peer.timeout_seconds:g} s",
            hint="look at the destination's log",
            stage="deliver",
        )
    if status != 0x0000:
        raise AssociationRejectedError(
            f"{peer.address} answered a C-ECHO with {status:04X}: {status_meaning(status)}",
            hint="look at the destination's log",
            stage="deliver",
        )
    return f"{peer.address} answers a C-ECHO"

"""The DICOM upper layer as an acceptor sees it: PDUs on a socket (PS3.8 chapter 9).

pynetdicom encodes and decodes the association PDUs. P-DATA is read here, straight from the socket
into the body of the message: its own state machine copies each byte several times and polls.
"""

from __future__ import annotations

import contextlib
import io
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from wetread.dicom.commitment import COMMITMENT_SOP_CLASS
from wetread.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

ASSOCIATE_RQ, P_DATA, RELEASE_RQ, ABORT = 0x01, 0x04, 0x05, 0x07
RELEASE_RP = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"

_MAXIMUM_REQUEST_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 16

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_ACCEPTED, _NO_ABSTRACT_SYNTAX, _NO_TRANSFER_SYNTAX = 0x00, 0x03, 0x04

# What pynetdicom raises on bytes that are no A-ASSOCIATE-RQ.
_UNDECODABLE = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    NotImplementedError,
    AssertionError,
    struct.error,
)


_Notifications = tuple[
    MaximumLengthNotification,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
]


class ProtocolError(Exception):
    """The peer sent what the standard does not allow here; the association is aborted."""


class PeerGoneError(Exception):
    """The peer closed the connection or aborted."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is refused: (result, source, reason) of PS3.8 Table 9-21, and a label."""

    codes: tuple[int, int, int]
    label: str


CALLER_NOT_RECOGNISED = Rejection((1, 1, 3), "calling AE title not recognised")
CALLED_NOT_RECOGNISED = Rejection((1, 1, 7), "called AE title not recognised")
CONTEXT_NOT_SUPPORTED = Rejection((1, 1, 2), "application context not supported")
LIMIT_EXCEEDED = Rejection((2, 3, 2), "local limit exceeded")
NO_TLS = "no TLS"
"""Why a connection is closed before anybody asks for an association."""
REJECTIONS = (
    NO_TLS,
    *(
        each.label
        for each in (
            CALLER_NOT_RECOGNISED,
            CALLED_NOT_RECOGNISED,
            CONTEXT_NOT_SUPPORTED,
            LIMIT_EXCEEDED,
        )
    ),
)
"""Every reason."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """The head of one presentation data value; its `size_bytes` are still on the link."""

    context_id: int
    is_command: bool
    is_last: bool
    size_bytes: int


def address_of(connection: socket.socket) -> str:
    """The peer's IP address; that of nobody if it has gone already."""
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return "0.0.0.0"  # noqa: S104 - nothing listens there


class Link:
    """One accepted connection: whole PDUs in, whole PDUs out. `address` is the peer's.

    Every read raises PeerGoneError at the end of the stream and TimeoutError if nothing came for
    the number of seconds given to `wait_at_most`.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.address = address_of(connection)
        with contextlib.suppress(OSError):  # the peer may have gone already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        stream = socket.SocketIO(connection, "r")
        self._reader = io.BufferedReader(stream, _BUFFER_BYTES)

    def wait_at_most(self, seconds: float) -> None:
        """Set the time-out of every following read and write."""
        self._socket.settimeout(seconds)

    def read(self, size_bytes: int) -> bytearray:
        """Exactly so many bytes."""
        data = bytearray(size_bytes)
        if self._reader.readinto(data) != size_bytes:
            raise PeerGoneError
        return data

    def pieces(self, size_bytes: int) -> Iterator[bytearray]:
        """Exactly so many bytes, in pieces of at most 1 MiB."""
        for start in range(0, size_bytes, _PIECE_BYTES):
            yield self.read(min(_PIECE_BYTES, size_bytes - start))

    def read_pdu_head(self) -> tuple[int, int]:
        """Type and length of the next PDU; the rest of it is still on the link."""
        kind, length = struct.unpack(">BxI", self.read(6))
        return kind, length

    def send(self, data: bytes) -> None:
        """Write all of `data`. Raises OSError."""
        self._socket.sendall(data)

    def abort(self, reason: int = 0) -> None:
        """Send an A-ABORT of the service provider if the peer still listens (PS3.8 9.3.8)."""
        pdu = A_ABORT_RQ()
        pdu.source, pdu.reason_diagnostic = 2, reason
        with contextlib.suppress(OSError):
            self.send(pdu.encode())

    def close(self) -> None:
        """Close the connection; what was sent still arrives."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self._socket.close()


def read_request(link: Link) -> A_ASSOCIATE:
    """The A-ASSOCIATE-RQ with which a connection begins. Raises ProtocolError."""
    kind, length = link.read_pdu_head()
    if kind == ABORT:
        raise PeerGoneError
    if kind != ASSOCIATE_RQ or length > _MAXIMUM_REQUEST_BYTES:
        raise ProtocolError(f"expected an A-ASSOCIATE-RQ, got type {kind:02X}, {length} bytes")
    data = struct.pack(">BxI", kind, length) + link.read(length)
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(data)
        return pdu.to_primitive()
    except _UNDECODABLE as error:
        raise ProtocolError(f"unreadable A-ASSOCIATE-RQ: {error}") from error


def is_dicom(request: A_ASSOCIATE) -> bool:
    """Whether the application context is the one of DICOM (PS3.7 A.2.1)."""
    return str(request.application_context_name) == _APPLICATION_CONTEXT


def reject(link: Link, rejection: Rejection) -> None:
    """Answer with an A-ASSOCIATE-RJ."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.codes
    link.send(pdu.encode())


def negotiate(
    request: A_ASSOCIATE, sop_classes: frozenset[str], transfer_syntaxes: frozenset[str]
) -> list[PresentationContext]:
    """The answer to each proposed context, in the order of the request (PS3.8 9.3.3.2).

    Of several transfer syntaxes the first one that we know is taken: the sender put it first, and
    we store every one as it comes.
    """
    return [
        _answered(proposed, sop_classes, transfer_syntaxes)
        for proposed in request.presentation_context_definition_list
    ]


def _answered(
    proposed: PresentationContext, sop_classes: frozenset[str], transfer_syntaxes: frozenset[str]
) -> PresentationContext:
    context = PresentationContext()
    context.context_id = proposed.context_id
    context.abstract_syntax = proposed.abstract_syntax
    known = [uid for uid in proposed.transfer_syntax if uid in transfer_syntaxes]
    # The transfer syntax of a refused context has no meaning, but a place in the PDU.
    first = [*known, *proposed.transfer_syntax, ImplicitVRLittleEndian][0]
    context.transfer_syntax = [first]
    if proposed.abstract_syntax not in sop_classes:
        context.result = _NO_ABSTRACT_SYNTAX
    else:
        context.result = _ACCEPTED if known else _NO_TRANSFER_SYNTAX
    return context


def accept(link: Link, request: A_ASSOCIATE, contexts: Iterable[PresentationContext]) -> None:
    """Answer with an A-ASSOCIATE-AC that sets no limit to the length of a PDU."""
    answer = A_ASSOCIATE()
    answer.application_context_name = UID(_APPLICATION_CONTEXT)
    answer.calling_ae_title = request.calling_ae_title
    answer.called_ae_title = request.called_ae_title
    answer.result, answer.result_source = 0, 1
    answer.presentation_context_definition_results_list = list(contexts)
    answer.user_information = [*_about_us(), *_roles(request)]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(answer)
    link.send(pdu.encode())


def _about_us() -> _Notifications:
    length = MaximumLengthNotification()
    length.maximum_length_received = 0
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return length, implementation, version


def _roles(request: A_ASSOCIATE) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Whatever role a caller asks for, it is the SCU and we are the SCP (PS3.7 D.3.3.4).

    Of storage commitment it may be the SCP: then it reports what we asked it for.
    """
    roles = []
    for item in request.user_information:
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation):
            role = SCP_SCU_RoleSelectionNegotiation()
            role.sop_class_uid = item.sop_class_uid
            may_be_scp = item.sop_class_uid == COMMITMENT_SOP_CLASS
            role.scu_role, role.scp_role = bool(item.scu_role), may_be_scp and bool(item.scp_role)
            roles.append(role)
    return roles


def fragments(link: Link) -> Iterator[Fragment]:
    """The presentation data values of one P-DATA-TF after the other, until the peer releases.

    The taker must read the bytes of each fragment before it asks for the next one.

    Raises PeerGoneError on an abort and ProtocolError on any other PDU.
    """
    while True:
        kind, length = link.read_pdu_head()
        if kind == P_DATA:
            yield from _values(link, length)
        elif kind == RELEASE_RQ:
            link.read(length)
            link.send(RELEASE_RP)
            return
        elif kind == ABORT:
            raise PeerGoneError
        else:
            raise ProtocolError(f"unexpected PDU of type {kind:02X}")


def _values(link: Link, length: int) -> Iterator[Fragment]:
    """PS3.8 9.3.5.1 and Annex E.2: item length, context id, message control header."""
    while length > 0:
        item_bytes, context_id, control = struct.unpack(">IBB", link.read(6))
        if item_bytes < 2 or item_bytes + 4 > length:
            raise ProtocolError(f"a data value of {item_bytes} bytes in {length} bytes of PDU")
        yield Fragment(context_id, bool(control & 1), bool(control & 2), item_bytes - 2)
        length -= item_bytes + 4


def p_data(context_id: int, command: bytes) -> bytes:
    """A P-DATA-TF that carries one whole command set."""
    head = struct.pack(">BxIIBB", P_DATA, len(command) + 6, len(command) + 2, context_id, 3)
    return head + command

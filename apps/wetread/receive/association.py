"""One caller's association from its request to its end: C-ECHO, C-STORE, storage commitment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from wetread import metrics
from wetread.config import ListenerConfig
from wetread.dicom.commitment import COMMITMENT_SOP_CLASS, decoded
from wetread.dicom.network import (
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
    VERIFICATION_SOP_CLASS,
)
from wetread.errors import StorageError, WetreadError, codes_for
from wetread.receive import upper_layer
from wetread.receive.accept import Arrival, Intake, count_refusal
from wetread.receive.body import Body
from wetread.receive.callers import Caller, Refused, counted_as, is_allowed, nobody_told
from wetread.receive.commands import (
    C_ECHO_RQ,
    C_STORE_RQ,
    MAXIMUM_COMMAND_BYTES,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    Command,
    parse_command,
    response_to,
)
from wetread.receive.upper_layer import Fragment, Link, PeerGoneError, ProtocolError, Rejection

log = structlog.get_logger()

ASSOCIATE_TIMEOUT_SECONDS = 10.0
_SUCCESS, _UNRECOGNISED_OPERATION = 0x0000, 0x0211
_PROCESSING_FAILURE, _NO_SUCH_SOP_CLASS, _RESOURCE_LIMITATION = 0x0110, 0x0118, 0x0213
# About 100,000 instances.
_MAXIMUM_COMMITMENT_BYTES = 16 << 20

# Asked once a caller is known; returns whether there is room for it.
Admit = Callable[[str], bool]


class CommitmentDoor(Protocol):
    """What is done with requests and reports of storage commitment; each gives status and comment.

    Raises WetreadError where the answer is a failure.
    """

    def take_request(self, calling_ae_title: str, dataset: Dataset) -> tuple[int, str]:
        """An N-ACTION: a sender asks whether we keep something."""
        ...

    def take_report(self, calling_ae_title: str, dataset: Dataset) -> tuple[int, str]:
        """An N-EVENT-REPORT: what a destination keeps of what we asked it for."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What this listener takes, and from whom; `named` callers have their own place in metrics."""

    config: ListenerConfig
    callers: tuple[Caller, ...]
    sop_classes: frozenset[str]
    transfer_syntaxes: frozenset[str]
    commitment: CommitmentDoor | None = None
    named: frozenset[str] = frozenset()
    refused: Refused = nobody_told

    @classmethod
    def of(
        cls,
        config: ListenerConfig,
        commitment: CommitmentDoor | None = None,
        named: frozenset[str] = frozenset(),
        refused: Refused = nobody_told,
    ) -> Terms:
        """Every storage SOP class, the private ones of the configuration, every transfer syntax."""
        classes = STORAGE_SOP_CLASSES | {VERIFICATION_SOP_CLASS, *config.private_sop_classes}
        if commitment is not None:
            classes |= {COMMITMENT_SOP_CLASS}
        callers = tuple(Caller.parse(entry) for entry in config.accept_calling_ae_titles)
        syntaxes = frozenset(TRANSFER_SYNTAXES)
        return cls(config, callers, frozenset(classes), syntaxes, commitment, named, refused)

    def objection(
        self, calling_ae_title: str, called_ae_title: str, address: str
    ) -> Rejection | None:
        """Why this caller is not let in; None if it is. An empty list lets nobody in."""
        if not is_allowed(self.callers, calling_ae_title, address):
            return upper_layer.CALLER_NOT_RECOGNISED
        if self.config.require_called_ae_title and called_ae_title != self.config.ae_title:
            return upper_layer.CALLED_NOT_RECOGNISED
        return None


@dataclass(slots=True)
class _Message:
    """A request while it arrives; `failure` is kept until the sender has said everything."""

    context_id: int
    command: Command
    body: Body
    failure: WetreadError | None = None

    def write(self, chunk: bytearray) -> None:
        if self.failure is None:
            try:
                self.body.write(chunk)
            except StorageError as error:
                self.failure = error

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


class AcceptedAssociation:
    """Serves one connection; `run` returns when it is over."""

    def __init__(self, link: Link, terms: Terms, intake: Intake, admit: Admit) -> None:
        self._link = link
        self._terms = terms
        self._intake = intake
        self._admit = admit
        self._contexts: dict[int, str] = {}
        self.calling_ae_title = ""
        self.called_ae_title = ""
        # The studies of which it brought something.
        self.study_instance_uids: set[str] = set()

    def run(self) -> None:
        """Negotiate, then answer messages until the caller releases, aborts or falls silent."""
        try:
            self._link.wait_at_most(ASSOCIATE_TIMEOUT_SECONDS)
            if self._established():
                self._serve()
        except TimeoutError:
            self._end("association timed out")
        except ProtocolError as error:
            self._end("association aborted", reason=str(error))
        except (PeerGoneError, OSError) as error:
            log.debug("association lost", caller=self.calling_ae_title, reason=str(error))
        finally:
            self._link.close()

    def _end(self, event: str, **facts: str) -> None:
        if self.calling_ae_title:
            log.warning(event, calling_ae_title=self.calling_ae_title, **facts)
        self._link.abort()

    def _established(self) -> bool:
        request = upper_layer.read_request(self._link)
        calling, called = _title(request.calling_ae_title), _title(request.called_ae_title)
        rejection = self._rejection(request, calling, called)
        if rejection is not None:
            metrics.ASSOCIATIONS_REJECTED.labels(rejection.label).inc()
            log.warning(
                "association rejected",
                calling_ae_title=calling,
                called_ae_title=called,
                address=self._link.address,
                reason=rejection.label,
            )
            upper_layer.reject(self._link, rejection)
            self._link.close()
            self._terms.refused(calling, self._link.address, rejection.label)
            return False
        self.calling_ae_title, self.called_ae_title = calling, called
        self._agree_on_contexts(request)
        return True

    @property
    def _counted_as(self) -> str:
        return counted_as(self.calling_ae_title, self._terms.named)

    def _rejection(self, request: A_ASSOCIATE, calling: str, called: str) -> Rejection | None:
        if not upper_layer.is_dicom(request):
            return upper_layer.CONTEXT_NOT_SUPPORTED
        objection = self._terms.objection(calling, called, self._link.address)
        if objection is None and not self._admit(calling):
            return upper_layer.LIMIT_EXCEEDED
        return objection

    def _agree_on_contexts(self, request: A_ASSOCIATE) -> None:
        contexts = upper_layer.negotiate(
            request, self._terms.sop_classes, self._terms.transfer_syntaxes
        )
        for context in contexts:
            if context.result == 0:
                self._contexts[context.context_id or 0] = str(context.transfer_syntax[0])
            else:
                self._count_refused(context)
        upper_layer.accept(self._link, request, contexts)

    def _count_refused(self, context: PresentationContext) -> None:
        uid = UID(str(context.abstract_syntax))
        # Anyone can invent UIDs; a label that anyone can set would grow without end.
        label = uid.name if uid.name != uid else "unknown"
        metrics.CONTEXTS_REFUSED.labels(self._counted_as, label).inc()
        log.warning(
            "presentation context refused",
            calling_ae_title=self.calling_ae_title,
            abstract_syntax=str(uid),
            abstract_syntax_name=label,
            transfer_syntax=str(context.transfer_syntax[0]),
            reason="transfer syntax" if context.result == 4 else "abstract syntax",
        )

    def _serve(self) -> None:
        stream = upper_layer.fragments(self._link)
        while True:
            self._link.wait_at_most(self._terms.config.idle_timeout_seconds)
            first = next(stream, None)
            if first is None:
                return
            self._link.wait_at_most(self._terms.config.dimse_timeout_seconds)
            with self._intake.spool.new_body() as body:
                self._answer(self._read_message(first, stream, body))

    def _read_message(self, first: Fragment, stream: Iterator[Fragment], body: Body) -> _Message:
        command = self._read_command(first, stream)
        message = _Message(first.context_id, command, body)
        if command.has_data_set:
            self._read_data_set(message, stream)
        return message

    def _read_command(self, fragment: Fragment | None, stream: Iterator[Fragment]) -> Command:
        data = bytearray()
        while fragment is not None:
            if not fragment.is_command or fragment.context_id not in self._contexts:
                raise ProtocolError("expected a command set in an accepted context")
            if len(data) + fragment.size_bytes > MAXIMUM_COMMAND_BYTES:
                raise ProtocolError("a command set of more than 64 KiB")
            data += self._link.read(fragment.size_bytes)
            if fragment.is_last:
                return _parsed(data)
            fragment = next(stream, None)
        raise PeerGoneError

    def _read_data_set(self, message: _Message, stream: Iterator[Fragment]) -> None:
        for fragment in stream:
            if fragment.is_command or fragment.context_id != message.context_id:
                raise ProtocolError("expected the data set of the command before")
            for piece in self._link.pieces(fragment.size_bytes):
                message.write(piece)
            if fragment.is_last:
                return
        raise PeerGoneError

    def _answer(self, message: _Message) -> None:
        command = message.command
        if not command.is_request:
            return
        if command.field == C_STORE_RQ and command.has_data_set:
            status, comment = self._store(message)
        elif command.field == C_ECHO_RQ:
            status, comment = _SUCCESS, ""
        elif command.field in (N_ACTION_RQ, N_EVENT_REPORT_RQ) and command.has_data_set:
            status, comment = self._commit(message)
        else:
            status, comment = _UNRECOGNISED_OPERATION, "this is not served here"
        answer = response_to(command, status, comment)
        self._link.send(upper_layer.p_data(message.context_id, answer))

    def _store(self, message: _Message) -> tuple[int, str]:
        """Status and Error Comment (0000,0902) for a C-STORE; success only when it is durable."""
        arrival = Arrival(
            calling_ae_title=self.calling_ae_title,
            called_ae_title=self.called_ae_title,
            transfer_syntax_uid=self._contexts[message.context_id],
            sop_class_uid=message.command.sop_class_uid,
            sop_instance_uid=message.command.sop_instance_uid,
            counted_as=self._counted_as,
        )
        try:
            message.check()
            instance = self._intake.accept(message.body, arrival)
            self.study_instance_uids.add(instance.study_instance_uid)
        except Exception as error:  # noqa: BLE001 - the caller must hear of any failure
            count_refusal(error, arrival)
            known = isinstance(error, WetreadError)
            return codes_for(error).store_status, str(error) if known else "internal error"
        return _SUCCESS, ""

    def _commit(self, message: _Message) -> tuple[int, str]:
        """Status and Error Comment for what concerns storage commitment."""
        door, command = self._terms.commitment, message.command
        if door is None or command.sop_class_uid != COMMITMENT_SOP_CLASS:
            return _NO_SUCH_SOP_CLASS, "only of storage commitment"
        take = door.take_request if command.field == N_ACTION_RQ else door.take_report
        try:
            message.check()
            if message.body.size_bytes > _MAXIMUM_COMMITMENT_BYTES:
                return _RESOURCE_LIMITATION, f"more than {_MAXIMUM_COMMITMENT_BYTES} bytes"
            content = b"".join(map(bytes, message.body.chunks()))
            return take(self.calling_ae_title, decoded(content, self._contexts[message.context_id]))
        except Exception as error:  # the caller must hear of any failure
            known = isinstance(error, WetreadError)
            log.warning(
                "storage commitment refused",
                calling_ae_title=self.calling_ae_title,
                reason=str(error) if known else type(error).__name__,
                exc_info=not known,
            )
            return _PROCESSING_FAILURE, str(error) if known else "internal error"


def _parsed(data: bytearray) -> Command:
    try:
        return parse_command(data)
    except ValueError as error:
        raise ProtocolError(str(error)) from error


def _title(value: object) -> str:
    return str(value or "").strip()

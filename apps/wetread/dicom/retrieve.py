"""Asking an archive: C-FIND and C-MOVE of the Study Root model (PS3.4 Annex C)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.dsutils import encode

from wetread.dicom.network import Peer, open_association
from wetread.errors import (
    AssociationRejectedError,
    DestinationUnavailableError,
    InputError,
    RetrieveRefusedError,
)

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
MOVE_DESTINATION_UNKNOWN = 0xA801
SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_PENDING = (0xFF00, 0xFF01)
_SUCCESS, _CANCELLED, _SOME_FAILED = 0x0000, 0xFE00, 0xB000
_MESSAGE_ID = 1

# PS3.4 Tables C.4-1 and C.4-2, and PS3.7 Annex C: the words, and what to do.
RETRIEVE_FAILURES = {
    0xA700: ("out of resources", "ask for less: a shorter time, or one modality"),
    0xA701: (
        "out of resources, unable to calculate number of matches",
        "ask for less at once, and again later",
    ),
    0xA702: (
        "out of resources, unable to perform sub-operations",
        "see that the gateway runs, and that the archive has its right host and port",
    ),
    MOVE_DESTINATION_UNKNOWN: (
        "move destination unknown",
        "tell the archive the AE title, host and port of this gateway, or set move_destination",
    ),
    0xA900: (
        "identifier does not match SOP class",
        "the archive does not understand one of the conditions; leave it out",
    ),
    0x0122: ("SOP class not supported", "let the archive offer Study Root C-FIND and C-MOVE"),
    0x0124: ("not authorised", "let the archive allow queries and moves by our calling AE title"),
}
_LOG_HINT = "look at the archive's log for the reason"
_FAILED_HINT = f"{_LOG_HINT}; see that the gateway runs where the archive sends to"


def retrieve_status(status: int) -> tuple[str, str]:
    """The words for a C-FIND or C-MOVE status (PS3.4 Tables C.4-1 and C.4-2), and what to do."""
    if status >> 12 == 0xC:
        return "unable to process", _FAILED_HINT
    return RETRIEVE_FAILURES.get(status, ("unknown status", _FAILED_HINT))


def refusal(peer: Peer, what: str, status: int, comment: str = "") -> RetrieveRefusedError:
    """The error for a status that is a failure."""
    words, hint = retrieve_status(status)
    detail = f", {comment}" if comment else ""
    return RetrieveRefusedError(
        f"{peer.address} refused {what} with status {status:04X}: {words}{detail}",
        status=status,
        hint=hint,
    )


def encoded_identifier(identifier: Dataset) -> bytes:
    """An identifier as it goes over the network, in Explicit VR Little Endian."""
    return encode(identifier, is_implicit_vr=False, is_little_endian=True) or b""


def find(peer: Peer, identifier: Dataset) -> list[Dataset]:
    """Every match for `identifier` (C-FIND, PS3.4 C.4.1).

    Raises RetrieveRefusedError for a failure status, InputError for a match that cannot be read,
    and DestinationUnavailableError or AssociationRejectedError as `open_association`.
    """
    found: list[Dataset] = []
    with open_association(peer, [(STUDY_ROOT_FIND, SYNTAXES)]) as association:
        for answer, match in _asked(
            peer, "C-FIND", lambda: association.send_c_find(identifier, STUDY_ROOT_FIND)
        ):
            status = _status_of(answer, peer, "C-FIND")
            if status == _SUCCESS:
                break
            if status not in _PENDING:
                raise refusal(peer, "a C-FIND", status, str(answer.get("ErrorComment", "")))
            if match is None:
                raise InputError(
                    f"{peer.address} answers a C-FIND with a match that cannot be read",
                    hint=_LOG_HINT,
                )
            found.append(match)
    return found


@dataclass(frozen=True, slots=True)
class MoveOutcome:
    """What an archive says of the sub-operations of its C-MOVE; `remaining` of one cut short."""

    completed: int = 0
    failed: int = 0
    warnings: int = 0
    remaining: int = 0
    cancelled: bool = False


class Cancellation:
    """Whether to stop, and whom to tell. `request` may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tell: list[Callable[[], None]] = []
        self._requested = threading.Event()

    @property
    def is_requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._requested.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait, at most until somebody asks to stop; whether somebody has."""
        return self._requested.wait(seconds)

    def request(self) -> None:
        """Ask to stop: what is under way is told once."""
        with self._lock:
            self._requested.set()
            told, self._tell = self._tell, []
        for each in told:
            each()

    @contextmanager
    def told(self, tell: Callable[[], None]) -> Iterator[None]:
        """Within this, `tell` is called when somebody asks to stop, or has asked."""
        with self._lock:
            late = self._requested.is_set()
            if not late:
                self._tell.append(tell)
        if late:
            tell()
        try:
            yield
        finally:
            with self._lock, suppress(ValueError):
                self._tell.remove(tell)


def move(
    peer: Peer,
    identifier: Dataset,
    move_destination: str,
    *,
    cancellation: Cancellation,
    progress: Callable[[MoveOutcome], None] = lambda _outcome: None,
) -> MoveOutcome:
    """Have the archive send what `identifier` names to another AE (C-MOVE, PS3.4 C.4.2).

    `peer.timeout_seconds` is the longest silence between two of its answers. When asked to stop,
    it is told by a C-CANCEL, and the association is aborted if it does not heed that.

    Raises as `find`. Failed sub-operations are no error: they are counted.
    """
    outcome = MoveOutcome()
    with open_association(peer, [(STUDY_ROOT_MOVE, SYNTAXES)]) as association:
        answers = _asked(
            peer,
            "C-MOVE",
            lambda: association.send_c_move(identifier, move_destination, STUDY_ROOT_MOVE),
        )
        with cancellation.told(lambda: _cancel(association, peer)):
            for answer, _ in answers:
                if "Status" not in answer and cancellation.is_requested:
                    return replace(outcome, cancelled=True)
                status = _status_of(answer, peer, "C-MOVE")
                outcome = _outcome_of(answer, outcome, status)
                if status in _PENDING:
                    progress(outcome)
                elif status not in (_SUCCESS, _SOME_FAILED, _CANCELLED):
                    raise refusal(peer, "a C-MOVE", status, str(answer.get("ErrorComment", "")))
    return outcome


def _asked(
    peer: Peer, what: str, send: Callable[[], Iterator[tuple[Dataset, Dataset | None]]]
) -> Iterator[tuple[Dataset, Dataset | None]]:
    try:
        return send()
    except RuntimeError as error:
        raise DestinationUnavailableError(
            f"{peer.address} ended the association before a {what}", hint=_LOG_HINT
        ) from error
    except ValueError as error:
        raise AssociationRejectedError(
            f"{peer.address}: no {what} can be sent: {error}",
            hint="let the archive offer Study Root C-FIND and C-MOVE",
        ) from error


def _status_of(answer: Dataset, peer: Peer, what: str) -> int:
    if "Status" in answer:
        return int(answer.Status)
    raise DestinationUnavailableError(
        f"{peer.address} ended the association during a {what}, or was silent for "
        f"{peer.timeout_seconds:g} s",
        hint="look at the archive's log; a slow one needs a longer move_timeout_seconds; "
        "the same command goes on where this one ended",
    )


def _outcome_of(answer: Dataset, before: MoveOutcome, status: int) -> MoveOutcome:
    """The counts of an answer; those that it leaves out stay as they were (PS3.7 9.1.4.1)."""

    def count(keyword: str, known: int) -> int:
        value = answer.get(keyword)
        return known if value is None else int(value)

    remaining = 0 if status in (_SUCCESS, _SOME_FAILED) else before.remaining
    return MoveOutcome(
        completed=count("NumberOfCompletedSuboperations", before.completed),
        failed=count("NumberOfFailedSuboperations", before.failed),
        warnings=count("NumberOfWarningSuboperations", before.warnings),
        remaining=count("NumberOfRemainingSuboperations", remaining),
        cancelled=status == _CANCELLED,
    )


def _cancel(association: Association, peer: Peer) -> None:
    # The association may end just now.
    with suppress(RuntimeError, ValueError):
        association.send_c_cancel(_MESSAGE_ID, query_model=STUDY_ROOT_MOVE)
    timer = threading.Timer(min(peer.timeout_seconds, 10.0), association.abort)
    timer.daemon = True
    timer.start()

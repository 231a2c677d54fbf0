"""Storage commitment, the Push Model (PS3.4 Annex J): asking, answering, and what is said."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import build_role, evt

from wetread.dicom.network import Peer, open_association, status_meaning
from wetread.errors import (
    AssociationRejectedError,
    CommitmentRefusedError,
    DestinationUnavailableError,
    InputError,
    WetreadError,
)

COMMITMENT_SOP_CLASS = "1.2.840.10008.1.20.1"
COMMITMENT_SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION, ALL_COMMITTED, SOME_FAILED = 1, 1, 2

NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0112, 0x0119
_SUCCESS, _INVALID_ARGUMENT, _PROCESSING_FAILURE = 0x0000, 0x0115, 0x0110
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
)
_LOOK_SECONDS = 0.05
# PS3.3 C.14.1.1
_REASONS = {
    0x0110: "processing failure",
    0x0112: "it has no such instance",
    0x0119: "the instance is of another SOP class there",
    0x0122: "it does not commit to this SOP class",
    0x0131: "the transaction UID is in use",
    0x0213: "out of resources",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """One SOP instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a request: what is kept safely, and what is not with the reason's code."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...] = ()


# Takes what a peer reports; false if nobody asked for it.
TakeOutcome = Callable[[Outcome], bool]


def refusal(destination: str, reference: Reference, reason: int) -> CommitmentRefusedError:
    """The error for an instance that a destination does not commit to."""
    words = _REASONS.get(reason, "unknown reason")
    return CommitmentRefusedError(
        f"{destination} does not commit to {reference.sop_instance_uid}: {reason:04X}, {words}",
        reason=reason,
        hint="look at the destination's log for the reason",
    )


def decoded(content: bytes, transfer_syntax_uid: str) -> Dataset:
    """The data set of a request or a report. Raises InputError if it cannot be read."""
    try:
        found = read_dataset(
            BytesIO(content),
            is_implicit_VR=transfer_syntax_uid == _IMPLICIT,
            is_little_endian=transfer_syntax_uid != _BIG_ENDIAN,
        )
        # Sequences and values are read when they are looked at.
        return Dataset({element.tag: element for element in found})
    except (ValueError, KeyError, TypeError, AttributeError, OSError, struct.error) as error:
        raise InputError(
            f"{len(content)} bytes are no data set: {error}", hint="see PS3.4 Annex J"
        ) from error


def request_of(dataset: Dataset) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID and what is asked about (PS3.4 Table J.3-1). Raises InputError."""
    references = _references(dataset, "ReferencedSOPSequence")
    if not references:
        raise InputError("the request names no instance", hint="see PS3.4 Table J.3-1")
    return _transaction(dataset), tuple(references)


def outcome_of(dataset: Dataset) -> Outcome:
    """What a report says (PS3.4 Table J.3-2). Raises InputError."""
    failed = [
        (reference, int(item.get("FailureReason") or _PROCESSING_FAILURE))
        for reference, item in zip(
            _references(dataset, "FailedSOPSequence"),
            dataset.get("FailedSOPSequence") or (),
            strict=True,
        )
    ]
    committed = tuple(_references(dataset, "ReferencedSOPSequence"))
    return Outcome(_transaction(dataset), committed, tuple(failed))


def _transaction(dataset: Dataset) -> str:
    uid = str(dataset.get("TransactionUID") or "")
    if not uid:
        raise InputError("the Transaction UID (0008,1195) is missing", hint="see PS3.4 Annex J")
    return uid


def _references(dataset: Dataset, keyword: str) -> list[Reference]:
    found = []
    for item in dataset.get(keyword) or ():
        uids = item.get("ReferencedSOPClassUID"), item.get("ReferencedSOPInstanceUID")
        if not all(uids):
            raise InputError(f"an item of {keyword} lacks a UID", hint="see PS3.4 Annex J")
        found.append(Reference(*map(str, uids)))
    return found


def request_commitment(
    peer: Peer,
    transaction_uid: str,
    references: Sequence[Reference],
    take: TakeOutcome,
    *,
    linger_seconds: float,
    answered: Callable[[], bool],
) -> None:
    """Ask `peer` with an N-ACTION, and stay for its report as long as that, unless `answered`.

    A report on this association goes to `take`; else it comes to our listener. Raises as
    `open_association`, and CommitmentRefusedError if the peer does not take the request.
    """

    def report(event: evt.Event) -> tuple[int, Dataset | None]:
        try:
            return (
                _SUCCESS if take(outcome_of(event.event_information)) else _INVALID_ARGUMENT
            ), None
        except (WetreadError, AttributeError, ValueError):
            return _PROCESSING_FAILURE, None

    contexts = [(COMMITMENT_SOP_CLASS, [_EXPLICIT, _IMPLICIT])]
    handlers = [(evt.EVT_N_EVENT_REPORT, report)]
    with open_association(peer, contexts, handlers=handlers) as association:
        answer, _ = association.send_n_action(
            _request(transaction_uid, references),
            REQUEST_ACTION,
            COMMITMENT_SOP_CLASS,
            COMMITMENT_SOP_INSTANCE,
        )
        _check(answer, peer, "a request for storage commitment")
        until = time.monotonic() + linger_seconds
        while association.is_established and not answered() and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)


def report_commitment(peer: Peer, outcome: Outcome) -> None:
    """Tell `peer` on an association of ours, as its SCP, what we keep. Raises as above."""
    contexts = [(COMMITMENT_SOP_CLASS, [_EXPLICIT, _IMPLICIT])]
    roles = [build_role(COMMITMENT_SOP_CLASS, scp_role=True)]
    with open_association(peer, contexts, roles=roles) as association:
        if not association.accepted_contexts[0].as_scp:
            raise AssociationRejectedError(
                f"{peer.address} takes no report of storage commitment: it does not let us be SCP",
                hint="let it accept the SCP role of its caller for this SOP class",
                stage="commit",
            )
        answer, _ = association.send_n_event_report(
            _report(outcome),
            SOME_FAILED if outcome.failed else ALL_COMMITTED,
            COMMITMENT_SOP_CLASS,
            COMMITMENT_SOP_INSTANCE,
        )
        _check(answer, peer, "a report of storage commitment")


def _check(answer: Dataset, peer: Peer, what: str) -> None:
    status = answer.get("Status")
    if status is None:
        raise DestinationUnavailableError(
            f"{peer.address} gave no answer to {what}",
            hint="look at its log; wetread comes again",
            stage="commit",
        )
    if status != _SUCCESS:
        raise CommitmentRefusedError(
            f"{peer.address} answered {what} with {status:04X}: {status_meaning(status)}",
            reason=int(status),
            hint="look at its log for the reason",
        )


def _request(transaction_uid: str, references: Iterable[Reference]) -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = [_item(reference) for reference in references]
    return dataset


def _report(outcome: Outcome) -> Dataset:
    dataset = _request(outcome.transaction_uid, outcome.committed)
    if not outcome.committed:
        del dataset.ReferencedSOPSequence
    if outcome.failed:
        dataset.FailedSOPSequence = [_item(*failed) for failed in outcome.failed]
    return dataset


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item

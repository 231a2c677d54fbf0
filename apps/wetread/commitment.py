"""Storage commitment both ways: destinations keep what we sent, and we keep what senders sent.

A thread for each destination asks, and one for each sender answers, so that none waits for another.
What is to be asked and answered stands in the ledger; after a crash it is asked and answered again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog
from pydicom import Dataset

from wetread import metrics
from wetread.config import Config, DicomDestination
from wetread.deliver.peers import destination_peer, sender_peer
from wetread.deliver.retry import next_try_seconds
from wetread.dicom.commitment import (
    CLASS_CONFLICT,
    NO_SUCH_INSTANCE,
    Outcome,
    Reference,
    outcome_of,
    refusal,
    report_commitment,
    request_commitment,
    request_of,
)
from wetread.dicom.network import Peer
from wetread.errors import DestinationUnavailableError, LedgerError, WetreadError, codes_for
from wetread.ledger import DeliveryRecord, Failure, Ledger, Question, Request

log = structlog.get_logger()

LINGER_SECONDS = 5.0
LOOK_SECONDS = 0.5
_SUCCESS, _INVALID_ARGUMENT, _NOT_AUTHORISED = 0x0000, 0x0115, 0x0124
_AGAIN_SECONDS = 5.0
# To connect, associate, report and release may each take one.
_TIMEOUTS_A_REPORT = 5


class Commitment:
    """Asks destinations with `commitment`, and is what the listener does with such messages.

    Raises ConfigError if the files of TLS cannot be used.
    """

    def __init__(
        self, config: Config, ledger: Ledger, is_in_spool: Callable[[Path], bool] = Path.is_file
    ) -> None:
        self._ledger = ledger
        self._is_in_spool = is_in_spool
        self._callers = config.commitment.callers
        self._destinations: Mapping[str, DicomDestination] = {
            name: to
            for name, to in config.destinations.items()
            if isinstance(to, DicomDestination) and to.commitment
        }
        asked = {name: destination_peer(name, to) for name, to in self._destinations.items()}
        own = config.listener.ae_title
        told = {title: sender_peer(title, to, own) for title, to in self._callers.items()}
        self._stopping = threading.Event()
        work = [
            *(partial(self._ask, name, peer) for name, peer in asked.items()),
            *(partial(self._tell, title, peer) for title, peer in told.items()),
        ]
        self._threads = [
            threading.Thread(target=self._repeat, args=(each,), name="commitment") for each in work
        ]

    @property
    def is_used(self) -> bool:
        """Whether the settings name anybody to ask or to answer."""
        return bool(self._threads)

    def start(self) -> None:
        """Begin to ask and to answer. Raises LedgerError."""
        self._ledger.commitments.forget_others(self._destinations)
        for thread in self._threads:
            thread.start()

    def stop(self, wait_seconds: float) -> None:
        """End; what is open is asked and answered at the next start."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(wait_seconds)

    def _repeat(self, work: Callable[[], bool]) -> None:
        while not self._stopping.is_set():
            wait = LOOK_SECONDS
            try:
                if work():
                    continue
            except LedgerError as error:
                metrics.FAILURES.labels("commit", codes_for(error).label).inc()
                log.error("the ledger does not answer", reason=str(error))
                wait = _AGAIN_SECONDS
            self._stopping.wait(wait)

    # -- what we ask of destinations -------------------------------------------------------

    def _ask(self, name: str, peer: Peer) -> bool:
        """Ask about what is due; false if nothing is."""
        book, settings = self._ledger.commitments, self._destinations[name]
        question = book.ask(name, settings.commitment_seconds)
        if question is None:
            return False
        if question.requests > settings.max_attempts:
            error = DestinationUnavailableError(
                f"{peer.address} did not answer {settings.max_attempts} requests to commit",
                hint="let it report to our listener, whose accept_calling_ae_titles must name it",
                stage="commit",
            )
            self._give_up(question, error)
            return True
        try:
            request_commitment(
                peer,
                question.transaction_uid,
                [Reference(*uids) for uids in question.instances],
                self._take_outcome,
                linger_seconds=LINGER_SECONDS,
                answered=lambda: (
                    self._stopping.is_set() or not book.is_open(question.transaction_uid)
                ),
            )
        except LedgerError:
            raise
        except WetreadError as error:
            self._not_asked(question, error)
        return True

    def _not_asked(self, question: Question, error: WetreadError) -> None:
        settings = self._destinations[question.destination]
        wait = next_try_seconds(settings, question.requests, error, random.random)
        if wait is None:
            self._give_up(question, error)
            return
        _log_failure(error, destination=question.destination, retry_in_seconds=wait)
        self._ledger.commitments.ask_again(question, wait, Failure.of(error))

    def _give_up(self, question: Question, error: WetreadError) -> None:
        _log_failure(error, destination=question.destination, retry_in_seconds=None)
        waiting = self._ledger.commitments.open_deliveries(question.transaction_uid)
        for record in waiting.values():
            metrics.DELIVERIES.labels(record.destination, "dead").inc()
            self._ledger.commitments.refused(record, Failure.of(error), None)

    def _take_outcome(self, outcome: Outcome) -> bool:
        """Write down an answer, wherever it came in. False if nobody asked for it."""
        book = self._ledger.commitments
        if not book.is_known(outcome.transaction_uid):
            return False
        waiting = book.open_deliveries(outcome.transaction_uid)
        for reference in outcome.committed:
            if reference.sop_instance_uid in waiting:
                book.committed(waiting[reference.sop_instance_uid])
        for reference, reason in outcome.failed:
            if reference.sop_instance_uid in waiting:
                self._refused(waiting[reference.sop_instance_uid], reference, reason)
        return True

    def _refused(self, record: DeliveryRecord, reference: Reference, reason: int) -> None:
        settings = self._destinations[record.destination]
        error = refusal(record.destination, reference, reason)
        wait = next_try_seconds(settings, record.attempts_since_retry, error, random.random)
        _log_failure(error, destination=record.destination, retry_in_seconds=wait)
        outcome = "dead" if wait is None else "failed"
        metrics.DELIVERIES.labels(record.destination, outcome).inc()
        self._ledger.commitments.refused(record, Failure.of(error), wait)

    # -- what the listener takes -----------------------------------------------------------

    def take_report(self, calling_ae_title: str, dataset: Dataset) -> tuple[int, str]:
        """A destination's answer on an association of its own. Raises InputError."""
        outcome = outcome_of(dataset)
        if not self._take_outcome(outcome):
            return _INVALID_ARGUMENT, "we know of no such transaction"
        log.info(
            "storage commitment reported",
            calling_ae_title=calling_ae_title,
            committed=len(outcome.committed),
            failed=len(outcome.failed),
        )
        return _SUCCESS, ""

    def take_request(self, calling_ae_title: str, dataset: Dataset) -> tuple[int, str]:
        """A sender's request; it is answered on an association of ours. Raises InputError."""
        if calling_ae_title not in self._callers:
            return _NOT_AUTHORISED, f"no [commitment.callers.{calling_ae_title}] here"
        transaction_uid, references = request_of(dataset)
        asked_about = [(each.sop_class_uid, each.sop_instance_uid) for each in references]
        self._ledger.commitments.take_request(calling_ae_title, transaction_uid, asked_about)
        return _SUCCESS, ""

    # -- what we tell senders --------------------------------------------------------------

    def _tell(self, title: str, peer: Peer) -> bool:
        """Tell a sender what is due; false if nothing is."""
        patience = _TIMEOUTS_A_REPORT * self._callers[title].timeout_seconds
        request = self._ledger.commitments.due_request(title, patience)
        if request is None:
            return False
        self._tell_one(peer, request)
        return True

    def _tell_one(self, peer: Peer, request: Request) -> None:
        book, settings = self._ledger.commitments, self._callers[request.calling_ae_title]
        outcome = self.outcome(request)
        try:
            report_commitment(peer, outcome)
        except WetreadError as error:
            wait = next_try_seconds(settings, request.tries + 1, error, random.random)
            _log_failure(error, calling_ae_title=peer.called_ae_title, retry_in_seconds=wait)
            book.not_told(request, error.message, wait)
            return
        counts = f"{len(outcome.committed)} committed, {len(outcome.failed)} failed"
        log.info("sender told what is kept", calling_ae_title=peer.called_ae_title, what=counts)
        book.told(request, counts)

    def outcome(self, request: Request) -> Outcome:
        """Committed is what lies whole in the spool, or what a destination has of our results."""
        kept: dict[str, set[str]] = {}
        uids = [sop_instance_uid for _, sop_instance_uid in request.instances]
        for (sop_class_uid, sop_instance_uid), path in self._ledger.commitments.kept(uids):
            if path is None or self._is_in_spool(path):
                kept.setdefault(sop_instance_uid, set()).add(sop_class_uid)
        committed, failed = [], []
        for uids_of_one in request.instances:
            reference = Reference(*uids_of_one)
            classes = kept.get(reference.sop_instance_uid, set())
            if reference.sop_class_uid in classes:
                committed.append(reference)
            else:
                failed.append((reference, CLASS_CONFLICT if classes else NO_SUCH_INSTANCE))
        return Outcome(request.transaction_uid, tuple(committed), tuple(failed))


def _log_failure(error: WetreadError, **facts: object) -> None:
    metrics.FAILURES.labels("commit", codes_for(error).label).inc()
    log.error("failed", stage="commit", reason=str(error), **facts)

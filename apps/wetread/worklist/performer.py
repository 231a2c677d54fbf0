"""Performs work items: claims, fetches, has read, reports (IHE AI Workflow for Imaging).

An item is in the ledger before it is claimed, and every step is done from what the ledger and the
worklist say. A process that dies in the middle just does that step again.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path

import structlog
from pydicom import Dataset

from wetread import metrics
from wetread.background import Background
from wetread.config import Config
from wetread.corrections.archive import Archive
from wetread.deciding import jobs_of, study_of
from wetread.deliver.web import open_client
from wetread.dicom.opening import open_dataset
from wetread.errors import (
    DestinationUnavailableError,
    InputError,
    RoutingError,
    WetreadError,
    codes_for,
)
from wetread.ledger import DeliveryState, JobRecord, JobState, Ledger, ResultRecord, StudyState
from wetread.ledger.work_items import WorkItem, WorkItemState
from wetread.receive.accept import Intake, Record, arrival_of_file
from wetread.receive.part10 import Part10Reader
from wetread.receive.spool import Spool
from wetread.route.rules import RoutingDecision, evaluate_rules
from wetread.worklist import items
from wetread.worklist.server import Worklist

log = structlog.get_logger()

WORKLIST_CALLER = "WORKLIST"
# A process that is silent for so many polls has lost its turn.
_POLLS_A_TURN = 6


class Performer(Background):
    """A thread that performs what `[worklist]` names. Raises ConfigError for its files."""

    def __init__(self, config: Config, ledger: Ledger, spool: Spool, record: Record) -> None:
        super().__init__("worklist")
        self._config = config
        self._settings = config.worklist
        self._ledger = ledger
        self._book = ledger.work_items
        self._spool = spool
        self._intake = Intake(spool, record)
        self._client = open_client(self._settings)
        self._server = Worklist(self._settings.url, self._client)
        self._owner = uuid.uuid4().hex
        self._fetching = False

    def open_callers(self) -> frozenset[str]:
        """WORKLIST_CALLER while the input of an item is being fetched."""
        return frozenset({WORKLIST_CALLER} if self._fetching else ())

    def stop(self, wait_seconds: float) -> None:
        """End; what is open goes on at the next start."""
        super().stop(wait_seconds)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.poll_seconds):
            try:
                self.look()
            except WetreadError as error:
                metrics.FAILURES.labels("worklist", codes_for(error).label).inc()
                log.error("the worklist waits", reason=error.message, hint=error.hint)

    def look(self) -> None:
        """Take every open item a step further, then claim what there is room for.

        Raises DestinationUnavailableError, DeliveryError or LedgerError; it is done again.
        """
        if not self._book.take_turn(self._owner, self._settings.poll_seconds * _POLLS_A_TURN):
            return
        for item in self._book.open():
            self._advance(item)
        for code in self._settings.codes:
            for found in self._server.scheduled(code):
                if len(self._book.open()) >= self._settings.at_once:
                    return
                uid = str(found.get("SOPInstanceUID") or "")
                if uid and items.is_ready(found):
                    transaction, study = f"2.25.{uuid.uuid4().int}", items.study_named(found)
                    begun = self._book.begin(uid, transaction, code, study)
                    if begun is not None:
                        self._claim(begun)

    def _advance(self, item: WorkItem) -> None:
        if item.state is WorkItemState.CLAIMING:
            self._claim(item)
            return
        try:
            self._work_on(item)
        except (InputError, RoutingError) as error:
            self._cancel(item, error.message)

    def _claim(self, item: WorkItem) -> None:
        """Ours, if the worklist says so now, or had said so before a crash."""
        uid, transaction = item.workitem_uid, item.transaction_uid
        begun = items.progress(0, "claimed")
        if self._server.change_state(uid, transaction, "IN PROGRESS") or self._server.update(
            uid, transaction, begun
        ):
            self._book.working(item)
            log.info("work item claimed", workitem_uid=uid, code=item.code)
        else:
            self._book.ended(item, WorkItemState.LOST, "another performer has it")

    def _work_on(self, item: WorkItem) -> None:
        described = self._server.get(item.workitem_uid)
        if described is None or described.get("ProcedureStepState") != "IN PROGRESS":
            self._book.ended(item, WorkItemState.LOST, "it is no longer in progress")
            return
        inputs = items.inputs_of(described)
        if not item.fetched:
            self._try_to_fetch(item, inputs, str(described.get("PatientID") or ""))
        elif not item.job_ids:
            self._ask(item, inputs)
        else:
            self._judge(item, described)

    def _try_to_fetch(
        self, item: WorkItem, inputs: tuple[items.Input, ...], patient_id: str
    ) -> None:
        """What the archive does not give now holds up no other item, and is given up in time."""
        try:
            self._fetch(inputs, patient_id)
        except DestinationUnavailableError as error:
            if time.time() - item.claimed_at > self._settings.give_up_seconds:
                self._cancel(item, error.message)
                return
            log.warning("input waits", workitem_uid=item.workitem_uid, reason=error.message)
        else:
            self._book.fetched(item)

    def _fetch(self, inputs: tuple[items.Input, ...], patient_id: str) -> None:
        self._fetching = True
        try:
            with (
                tempfile.TemporaryDirectory(dir=self._spool.path) as folder,
                closing(Archive(self._settings.archive, client=open_client(self._settings))) as had,
            ):
                for each in inputs:
                    for instance in each.instances or ("",):
                        study, series = each.study_instance_uid, each.series_instance_uid
                        for path in had.fetch(Path(folder), study, series, instance):
                            self._take(path, study, patient_id)
        finally:
            self._fetching = False

    def _take(self, path: Path, study: str, patient_id: str) -> None:
        """Into the spool like whatever arrives. Raises InputError if it is another patient's."""
        found = str(open_dataset(path, ["PatientID"], only=["PatientID"]).get("PatientID") or "")
        if patient_id and found != patient_id:
            raise InputError(
                "the images are of another patient than the work item",
                hint="look at the item's Patient ID and at the archive",
            )
        part = Part10Reader(self._spool.new_body())
        try:
            part.write(path.read_bytes())
            self._intake.accept(part.body, arrival_of_file(part.meta, WORKLIST_CALLER, study))
        finally:
            part.body.close()
            path.unlink()

    def _ask(self, item: WorkItem, inputs: tuple[items.Input, ...]) -> None:
        """Queue the jobs of the code's rule, once the study is complete and was routed."""
        record = self._ledger.studies.get(inputs[0].study_instance_uid)
        if record.state in (StudyState.ARRIVING, StudyState.COMPLETE):
            return
        study = study_of(self._ledger, self._spool, record)
        name = self._settings.codes[item.code]
        rule = next(each for each in self._config.rules if each.name == name)
        decision = evaluate_rules(study, [rule])
        wanted = {each.series_instance_uid for each in inputs}
        removals = len(self._ledger.removals.of_study(study.study_instance_uid))
        jobs = [
            each
            for each in jobs_of(decision, study, removals)
            if each.series_instance_uid in wanted
        ]
        if not jobs:
            raise InputError(
                f"rule {name!r} takes none of the input: {_why(decision, wanted)}",
                hint="see the study's page",
            )
        self._ledger.studies.add_jobs(study.study_instance_uid, record.generation, jobs)
        self._book.asked(item, tuple(each.job_id for each in jobs))

    def _judge(self, item: WorkItem, described: Dataset) -> None:
        jobs = [self._ledger.jobs.get(each) for each in item.job_ids]
        bad = next(
            (each for each in jobs if each.state in (JobState.FAILED, JobState.CANCELLED)), None
        )
        if bad is not None:
            why = bad.failure.message if bad.failure else str(bad.state)
            self._cancel(item, f"model {bad.model}: {why}")
            return
        if any(each.state is not JobState.DONE for each in jobs):
            share = sum(each.progress for each in jobs) / len(jobs)
            self._server.update(
                item.workitem_uid, item.transaction_uid, items.progress(90 * share, "reading")
            )
            return
        self._report(item, jobs, described)

    def _report(self, item: WorkItem, jobs: list[JobRecord], described: Dataset) -> None:
        sent = [each for job in jobs for each in self._ledger.deliveries.list(job_id=job.job_id)]
        if any(each.state is DeliveryState.PENDING for each in sent):
            return
        unsent = [each for each in sent if each.state is not DeliveryState.DELIVERED]
        if unsent:
            self._cancel(item, f"{len(unsent)} results could not be delivered")
            return
        arrived = {each.sop_instance_uid for each in sent}
        results: list[ResultRecord] = [
            each
            for job in jobs
            for each in self._ledger.jobs.results_of(job.job_id)
            if each.sop_instance_uid in arrived
        ]
        station = self._config.listener.ae_title
        done = items.performed(described, results, self._settings.archive, station, item.claimed_at)
        self._end(item, done, "COMPLETED", WorkItemState.COMPLETED)

    def _cancel(self, item: WorkItem, reason: str) -> None:
        self._end(item, items.discontinued(reason), "CANCELED", WorkItemState.CANCELED, reason)

    def _end(
        self, item: WorkItem, last: Dataset, state: str, here: WorkItemState, reason: str = ""
    ) -> None:
        uid, transaction = item.workitem_uid, item.transaction_uid
        told = self._server.update(uid, transaction, last) and self._server.change_state(
            uid, transaction, state
        )
        if not told:
            now = self._server.get(uid)
            # An answer that a crash or a time-out has lost.
            if now is None or now.get("ProcedureStepState") != state:
                here, reason = WorkItemState.LOST, f"the worklist does not take {state}"
        self._book.ended(item, here, reason)
        log.info("work item ended", workitem_uid=uid, state=str(here))


def _why(decision: RoutingDecision, wanted: set[str]) -> str:
    missed = {
        f"{each.name} is {each.seen}, wanted is {each.wanted}"
        for outcome in decision.outcomes
        if outcome.series_instance_uid in wanted
        for each in outcome.conditions
        if not each.held
    }
    return "; ".join(sorted(missed)) or "no such series has come"

"""The whole story of a study, from complete to delivered.

`due` says what the ledger wants done; `run` does one such task and says what follows from it. A
task belongs to one row of the ledger: a generation of a study, an attempt of a job, a try of a
delivery. Doing it twice changes nothing, so a process that dies in the middle just does it again.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import structlog

from wetread import __version__, metrics
from wetread.config import Config, DicomDestination
from wetread.deciding import jobs_of, study_of
from wetread.deliver.base import Destination
from wetread.deliver.retry import next_try_seconds
from wetread.dicom.attributes import read_series
from wetread.encode.registry import EncodedObject
from wetread.errors import (
    JobCancelledError,
    LedgerError,
    ReadingCrashesError,
    ReadingHangsError,
    ShareAwayError,
    WetreadError,
    codes_for,
)
from wetread.files import write_atomically
from wetread.health import count_failure, count_reading
from wetread.infer.base import Progress
from wetread.infer.shelf import ModelShelf
from wetread.ledger import (
    DeliveryState,
    Failure,
    JobRecord,
    Ledger,
    ResultRecord,
    StudyRecord,
    StudyState,
)
from wetread.reading import AfterReading, Reading, nothing_more, read_series_with
from wetread.receive.assembly import Doors, Waiting, assess
from wetread.receive.spool import Spool
from wetread.results import ModelIdentity, PredecessorReference, ResultContext
from wetread.route.rules import evaluate_rules
from wetread.study import Completion, ReceivedInstance, Series
from wetread.tasks import Kind, Task, delivery_task, job_task, study_task
from wetread.uids import job_uid
from wetread.watch import watched

log = structlog.get_logger()

PROGRESS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the pipeline works with, built by `service`.

    A process without `doors` does not judge whether studies are complete: others know better.
    """

    config: Config
    ledger: Ledger
    spool: Spool
    models: ModelShelf
    destinations: Mapping[str, Destination]
    doors: Callable[[], Doors] | None
    after_reading: AfterReading = nothing_more


class Pipeline:
    """Moves studies through the rooms."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._ledger = rooms.ledger
        # A queue's limit is one number for all destinations; each has its own here.
        self._places = {
            name: threading.BoundedSemaphore(to.max_concurrent)
            for name, to in rooms.config.destinations.items()
        }

    def due(self, now: float) -> list[Task]:
        """End the waits that are over at `now`, and list everything that should run. Cheap.

        The time is in seconds since 1970.
        """
        waiting = self._ledger.studies.arriving() if self._rooms.doors else ()
        if self._rooms.doors and waiting:
            config, doors = self._rooms.config.assembly, self._rooms.doors()
            callers, since = doors.open_callers, doors.open_since
            for arriving in waiting:
                verdict = assess(arriving, config, callers, now, listening_since=since)
                if not isinstance(verdict, Waiting):
                    self._end_wait(arriving.record, verdict)
        return [
            *map(study_task, self._ledger.studies.with_state(StudyState.COMPLETE)),
            *map(job_task, self._ledger.jobs.due()),
            *map(delivery_task, self._ledger.deliveries.due()),
        ]

    def run(self, kind: Kind, subject: str, number: int) -> list[Task]:
        """Do one task; returns those that follow from it.

        Raises LedgerError or ShareAwayError if nobody answers; other errors end in the ledger.
        """
        do, fail = {
            Kind.STUDY: (self._route, self._fail_study),
            Kind.JOB: (self._read, self._fail_job),
            Kind.DELIVERY: (self._send, self._fail_try),
        }[kind]
        try:
            return do(subject, number)
        except (LedgerError, ShareAwayError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever happens, a person can see it
            fail(subject, number, error)
            return []

    def _end_wait(self, record: StudyRecord, completion: Completion) -> None:
        study, generation = record.study_instance_uid, record.generation
        self._ledger.studies.mark_complete(study, generation, completion)
        what = {"study_instance_uid": study, "generation": generation}
        log.info("study complete", **what, reason=completion.reason)

    # -- route ------------------------------------------------------------------------------

    def _route(self, study_instance_uid: str, generation: int) -> list[Task]:
        record = self._ledger.studies.get(study_instance_uid, generation)
        if record.state != StudyState.COMPLETE:
            return []
        study = study_of(self._ledger, self._rooms.spool, record)
        config = self._rooms.config
        decision = evaluate_rules(study, config.rules, config.routing.match)
        removals = len(self._ledger.removals.of_study(study_instance_uid))
        jobs = jobs_of(decision, study, removals)
        self._ledger.studies.record_decision(study_instance_uid, generation, asdict(decision), jobs)
        log.info("study routed", study_instance_uid=study_instance_uid, jobs=len(jobs))
        return [
            task
            for task in map(job_task, self._ledger.jobs.list(study=study_instance_uid))
            if task.subject in {job.job_id for job in jobs}
        ]

    def _fail_study(self, study_instance_uid: str, generation: int, error: Exception) -> None:
        _log_failure("route", error, study_instance_uid=study_instance_uid)
        self._ledger.studies.fail(study_instance_uid, generation, Failure.of(error))

    # -- read -------------------------------------------------------------------------------

    def _read(self, job_id: str, attempt: int) -> list[Task]:
        job = self._ledger.jobs.get(job_id)
        if job.attempt != attempt:
            return []
        instances = self._instances(job)
        if not self._ledger.jobs.start(job):
            return []
        self._check_interruptions(job)
        series = read_series(instances, job.stack)
        reading = self._read_with_model(job, series)
        written = self._keep(job, reading.objects)
        for stage, seconds in reading.seconds.items():
            metrics.STAGE_SECONDS.labels(stage, job.model).observe(seconds)
        count_reading(job.model, series, reading.result, reading.volumes_ml)
        log.info("job done", job_id=job_id, model=job.model, outcome=reading.outcome)
        kinds = self._rooms.config.kinds_for(job.destinations)
        asked = self._ledger.jobs.finish(job, reading.outcome, reading.seconds, written, kinds)
        self._rooms.after_reading(job.model, job_id, series, reading.result)
        return [delivery_task(self._ledger.deliveries.get(each)) for each in asked]

    def _check_interruptions(self, job: JobRecord) -> None:
        model = self._rooms.config.models.get(job.model)
        times = self._ledger.jobs.interruptions(job)
        if model is not None and times >= model.max_attempts:
            raise ReadingCrashesError(
                f"model {job.model} was cut short {times} times: the process has died under it",
                hint="see the system's log for a crash or too little memory, then retry the job",
            )

    def _read_with_model(self, job: JobRecord, series: Series) -> Reading:
        def read(progress: Progress) -> Reading:
            with self._rooms.models.lend(job.model) as model:
                context = self._context(job, series, model.identity)
                return read_series_with(model, series, context, progress)

        model = self._rooms.config.models.get(job.model)
        patience = math.inf if model is None else model.hang_seconds
        try:
            return watched(read, self._progress_of(job), patience)
        except ReadingHangsError:
            self._rooms.models.set_aside(job.model)
            raise

    def _context(self, job: JobRecord, series: Series, model: ModelIdentity) -> ResultContext:
        uid = job_uid(
            (instance.sop_instance_uid for instance in series.instances),
            job.model,
            model.weights_sha256,
            job.generation,
            job.attempt,
        )
        return ResultContext(
            job_uid=uid,
            created_at=datetime.fromtimestamp(job.created_at, UTC),
            device_uid=self._ledger.device_uid(),
            station_name=self._rooms.config.listener.ae_title,
            software_version=__version__,
            predecessors=_predecessors(self._ledger.jobs.live_predecessors(job)),
            also=frozenset().union(*self._rooms.config.kinds_for(job.destinations).values()),
        )

    def _instances(self, job: JobRecord) -> list[ReceivedInstance]:
        found = self._ledger.studies.instances_of(job.study_instance_uid, job.generation)
        wanted = [each for each in found if each.series_instance_uid == job.series_instance_uid]
        self._rooms.spool.obtain(each.path for each in wanted)
        return wanted

    def _progress_of(self, job: JobRecord) -> Progress:
        told = ("", 0.0)

        def progress(stage: str, fraction: float) -> None:
            nonlocal told
            if stage == told[0] and time.monotonic() - told[1] < PROGRESS_SECONDS:
                return
            told = (stage, time.monotonic())
            if self._ledger.jobs.progress(job, stage, fraction):
                raise JobCancelledError(f"job {job.job_id} was cancelled", stage=stage)

        return progress

    def _keep(self, job: JobRecord, objects: tuple[EncodedObject, ...]) -> list[ResultRecord]:
        records = []
        for each in objects:
            content = each.file_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            # Another machine may have read the same and got other bytes: both keep their place.
            name = f"{each.sop_instance_uid}.{sha256[:8]}.dcm"
            path = self._rooms.spool.results_folder / job.job_id / name
            self._rooms.spool.check_room(len(content))
            write_atomically(path, [content])
            self._rooms.spool.publish(path)
            records.append(
                ResultRecord(
                    sop_instance_uid=each.sop_instance_uid,
                    job_id=job.job_id,
                    attempt=job.attempt,
                    generation=job.generation,
                    kind=each.kind,
                    sop_class_uid=each.sop_class_uid,
                    study_instance_uid=job.study_instance_uid,
                    source_series_instance_uid=job.series_instance_uid,
                    series_instance_uid=str(each.dataset.SeriesInstanceUID),
                    model=job.model,
                    path=path,
                    sha256=sha256,
                    created_at=job.created_at,
                )
            )
        return records

    def _fail_job(self, job_id: str, attempt: int, error: Exception) -> None:
        job = self._ledger.jobs.get(job_id)
        if isinstance(error, JobCancelledError):
            count_failure(job.model, error, again=False)
            self._ledger.jobs.cancelled(job)
            return
        wait = None
        if isinstance(error, WetreadError) and job.model in self._rooms.config.models:
            settings = self._rooms.config.models[job.model]
            wait = next_try_seconds(settings, job.attempts_since_retry + 1, error, random.random)
        count_failure(job.model, error, again=wait is not None)
        _log_failure(
            getattr(error, "stage", "") or "read",
            error,
            job_id=job_id,
            attempt=attempt,
            retry_in_seconds=wait,
        )
        if wait is None:
            self._ledger.jobs.fail(job, Failure.of(error))
        else:
            self._ledger.jobs.put_off(job, Failure.of(error), wait)

    # -- deliver ----------------------------------------------------------------------------

    def _send(self, delivery_id: str, attempt: int) -> list[Task]:
        record = self._ledger.deliveries.get(delivery_id)
        if record.attempt != attempt or record.state != DeliveryState.PENDING:
            return []
        self._rooms.spool.obtain([record.path])
        with self._places[record.destination]:
            self._ledger.workers.check()
            with metrics.DELIVERY_SECONDS.labels(record.destination).time():
                receipt = self._rooms.destinations[record.destination].send(record.path)
        metrics.DELIVERIES.labels(record.destination, "delivered").inc()
        metrics.DELIVERED_AT.labels(record.destination).set_to_current_time()
        log.info("delivered", delivery_id=delivery_id, destination=record.destination)
        settings = self._rooms.config.destinations[record.destination]
        commit = isinstance(settings, DicomDestination) and settings.commitment
        self._ledger.deliveries.delivered(record, receipt.answer, commit=commit)
        return []

    def _fail_try(self, delivery_id: str, attempt: int, error: Exception) -> None:
        record = self._ledger.deliveries.get(delivery_id)
        settings = self._rooms.config.destinations[record.destination]
        wait = None
        if isinstance(error, WetreadError):
            tries = record.attempts_since_retry + 1
            wait = next_try_seconds(settings, tries, error, random.random)
        outcome = "dead" if wait is None else "failed"
        metrics.DELIVERIES.labels(record.destination, outcome).inc()
        _log_failure(
            "deliver",
            error,
            delivery_id=delivery_id,
            attempt=attempt,
            destination=record.destination,
            retry_in_seconds=wait,
        )
        self._ledger.deliveries.failed(record, Failure.of(error), wait)


def _predecessors(records: tuple[ResultRecord, ...]) -> Mapping[str, PredecessorReference]:
    return {
        record.kind: PredecessorReference(
            record.study_instance_uid,
            record.series_instance_uid,
            record.sop_class_uid,
            record.sop_instance_uid,
        )
        for record in records
    }


def _log_failure(stage: str, error: Exception, **facts: object) -> None:
    metrics.FAILURES.labels(stage, codes_for(error).label).inc()
    unforeseen = not isinstance(error, WetreadError)
    log.error("failed", stage=stage, reason=str(error), exc_info=unforeseen, **facts)

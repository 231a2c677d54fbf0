"""A study as the ledger has it, and the jobs that a decision on it asks for."""

from __future__ import annotations

from datetime import UTC, datetime

from wetread.dicom.attributes import read_study
from wetread.ledger import Ledger, NewJob, StudyRecord
from wetread.receive.spool import Spool
from wetread.route.rules import RoutingDecision
from wetread.study import Completion, ReceivedInstance, Study
from wetread.uids import derived_uid


def study_of(ledger: Ledger, spool: Spool, record: StudyRecord) -> Study:
    """One generation with what its files say. Raises InputError, StorageError, LedgerError."""
    instances = ledger.studies.instances_of(record.study_instance_uid, record.generation)
    spool.obtain(each.path for each in instances)
    attributes = read_study(instances, stack_by_stack=True)
    return Study(
        study_instance_uid=record.study_instance_uid,
        generation=record.generation,
        calling_ae_title=record.calling_ae_title,
        series=attributes.series,
        completion=_completion(record),
        study_description=attributes.study_description,
        patient_age_years=attributes.patient_age_years,
    )


def jobs_of(decision: RoutingDecision, study: Study, removals: int) -> list[NewJob]:
    """A job for each selected series and model; `removals` is how often its files were removed."""
    series = {(each.series_instance_uid, each.stack): each for each in study.series}
    return [
        NewJob(
            job_id=_job_id(series[selection.key].instances, model, removals),
            series_instance_uid=selection.series_instance_uid,
            stack=selection.stack,
            rule=selection.rule,
            model=model,
            destinations=selection.destinations,
            priority=selection.priority,
        )
        for selection in decision.selections
        for model in selection.models
    ]


def _job_id(instances: tuple[ReceivedInstance, ...], model: str, removals: int) -> str:
    """The same model on the same files is the same job, in whatever generation.

    Files that were removed and came again are others, although their paths are the same.
    """
    again = ("again", str(removals)) if removals else ()
    paths = sorted(str(each.path) for each in instances)
    return derived_uid("job id", model, *again, *paths)[-12:]


def _completion(record: StudyRecord) -> Completion:
    return Completion(
        record.completion_reason or "",
        record.waited_seconds or 0.0,
        datetime.fromtimestamp(record.completed_at or 0.0, UTC),
    )

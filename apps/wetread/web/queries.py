"""What a page or a route of the API asks of the ledger, put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wetread.ledger import ArrivingStudy, DeliveryState, JobState, StudyState
from wetread.viewer.settings import study_address
from wetread.web.places import DestinationRow, ModelRow, destination_rows, model_rows
from wetread.web.rules import SeriesDecision, series_decisions
from wetread.web.site import Site
from wetread.web.views import (
    ArrivingRow,
    DeliveryRow,
    EventRow,
    JobRow,
    ResultRow,
    StudyRow,
    delivery_row,
    event_row,
    job_row,
    result_row,
    study_row,
)

DAY_SECONDS = 86_400.0
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class StudyDetails:
    """One study from its first instance to the last delivery. `viewer` is where it opens."""

    study: StudyRow
    images: dict[int, int]
    decision: tuple[SeriesDecision, ...]
    jobs: tuple[JobRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    history: tuple[EventRow, ...]
    viewer: str


@dataclass(frozen=True, slots=True)
class JobDetails:
    """One job with what it wrote and where that went. `viewer` is where its study opens."""

    job: JobRow
    results: tuple[ResultRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    viewer: str


@dataclass(frozen=True, slots=True)
class Now:
    """What is under way, and what needs a person: the newest of each."""

    arriving: tuple[ArrivingRow, ...]
    reading: tuple[JobRow, ...]
    queued: int
    running: int
    waiting: int
    dead: int
    dead_letters: tuple[DeliveryRow, ...]
    failed_jobs: tuple[JobRow, ...]
    failed_studies: tuple[StudyRow, ...]
    destinations: tuple[DestinationRow, ...]
    newest: tuple[StudyRow, ...]

    @property
    def troubles(self) -> int:
        """How many things need a person."""
        return self.dead + len(self.failed_jobs) + len(self.failed_studies)


def now(site: Site) -> Now:
    """The state of things; of failures those of the last day."""
    ledger, since = site.ledger, site.clock() - DAY_SECONDS
    counts = ledger.jobs.counts()
    destinations = destinations_of(site)
    reading = [
        *ledger.jobs.list(state=JobState.RUNNING, limit=_SHOWN),
        *ledger.jobs.list(state=JobState.QUEUED, limit=_SHOWN),
    ]
    dead = ledger.deliveries.list(state=DeliveryState.DEAD, limit=_SHOWN)
    failed = ledger.jobs.list(state=JobState.FAILED, limit=_SHOWN)
    broken = ledger.studies.with_state(StudyState.FAILED)
    return Now(
        arriving=tuple(_arriving(each) for each in ledger.studies.arriving()),
        reading=tuple(job_row(each) for each in reading),
        queued=counts[JobState.QUEUED],
        running=counts[JobState.RUNNING],
        waiting=sum(each.waiting for each in destinations),
        dead=sum(each.dead for each in destinations),
        dead_letters=tuple(delivery_row(each) for each in dead),
        failed_jobs=tuple(
            job_row(each) for each in failed if (each.finished_at or each.created_at) >= since
        ),
        failed_studies=tuple(
            study_row(each) for each in reversed(broken) if each.last_received_at >= since
        ),
        destinations=destinations,
        newest=studies(site, _SHOWN // 2),
    )


def _arriving(study: ArrivingStudy) -> ArrivingRow:
    row = study_row(study.record)
    return ArrivingRow(
        study_instance_uid=row.study_instance_uid,
        generation=row.generation,
        calling_ae_titles=tuple(sorted(study.calling_ae_titles)),
        series=len(study.series),
        images=sum(each.instances for each in study.series),
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
    )


def study_details(site: Site, study: str) -> StudyDetails:
    """Raises LedgerError if the ledger does not know it."""
    record = site.ledger.studies.get(study)
    progress = site.ledger.overview.progress([study]).get((study, record.generation))
    jobs = site.ledger.jobs.list(study=study)
    return StudyDetails(
        study=study_row(record, progress),
        images=dict(site.ledger.overview.images(study)),
        decision=series_decisions(record.decision or {}),
        jobs=tuple(job_row(each) for each in jobs),
        deliveries=tuple(_deliveries(site, (each.job_id for each in jobs))),
        history=tuple(event_row(each) for each in site.ledger.studies.history(study)),
        viewer=_viewer(site, study),
    )


def job_details(site: Site, job_id: str) -> JobDetails:
    """Raises LedgerError if there is none of that id."""
    record = site.ledger.jobs.get(job_id)
    return JobDetails(
        job=job_row(record),
        results=tuple(result_row(each) for each in site.ledger.jobs.results_of(job_id)),
        deliveries=tuple(_deliveries(site, [job_id])),
        viewer=_viewer(site, record.study_instance_uid),
    )


def _deliveries(site: Site, job_ids: Iterable[str]) -> Iterable[DeliveryRow]:
    for job_id in job_ids:
        found = site.ledger.deliveries.list(job_id=job_id)
        yield from (delivery_row(each) for each in found)


def _viewer(site: Site, study: str) -> str:
    viewer = site.config.viewer
    return study_address(viewer, study) if viewer.studies else ""


def studies(site: Site, limit: int) -> tuple[StudyRow, ...]:
    """Those that came last."""
    records = site.ledger.studies.newest(limit)
    progress = site.ledger.overview.progress({each.study_instance_uid for each in records})
    return tuple(
        study_row(each, progress.get((each.study_instance_uid, each.generation)))
        for each in records
    )


def jobs(site: Site, state: JobState | None, study: str | None, limit: int) -> tuple[JobRow, ...]:
    """Newest first."""
    found = site.ledger.jobs.list(state=state, study=study, limit=limit)
    return tuple(job_row(each) for each in found)


def deliveries(
    site: Site, state: DeliveryState | None, destination: str | None, limit: int
) -> tuple[DeliveryRow, ...]:
    """Newest first."""
    found = site.ledger.deliveries.list(state=state, destination=destination, limit=limit)
    return tuple(delivery_row(each) for each in found)


def destinations_of(site: Site) -> tuple[DestinationRow, ...]:
    """Those of the settings."""
    return destination_rows(site.config, site.ledger.overview.traffic())


def models_of(site: Site) -> tuple[ModelRow, ...]:
    """Those of the settings, with their last 7 days."""
    return model_rows(site.config, site.ledger.overview.runs(site.clock() - 7 * DAY_SECONDS))

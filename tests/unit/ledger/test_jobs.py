"""The books of jobs and deliveries: one live result of a model on a series, whatever the order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from conftest import Clock
from facts import STUDY, instance
from wetread.errors import LedgerError
from wetread.ledger import (
    DeliveryState,
    Failure,
    JobRecord,
    JobState,
    Ledger,
    NewJob,
    ResultRecord,
)
from wetread.study import Completion

SERIES = "1.2.3.4"
KINDS = {"pacs": ["SEG", "SR"], "folder": ["SEG"]}


def queue_job(
    ledger: Ledger, job_id: str = "j1", generation: int = 1, stack: str = ""
) -> JobRecord:
    ledger.studies.record_instance(instance(generation), sha256=str(generation), size_bytes=1)
    complete = Completion("asked", 0.0, datetime.now(UTC))
    ledger.studies.mark_complete(STUDY, generation, complete)
    job = NewJob(job_id, SERIES, "rule", "brain", tuple(KINDS), 100, stack)
    ledger.studies.record_decision(STUDY, generation, {}, [job])
    return ledger.jobs.get(job_id)


def results(job: JobRecord, kinds: tuple[str, ...] = ("SEG", "SR")) -> list[ResultRecord]:
    return [
        ResultRecord(
            sop_instance_uid=f"{job.job_id}.{job.attempt}.{kind}",
            job_id=job.job_id,
            attempt=job.attempt,
            generation=job.generation,
            kind=kind,
            sop_class_uid="1.2",
            study_instance_uid=STUDY,
            source_series_instance_uid=SERIES,
            series_instance_uid="9",
            model="brain",
            path=Path(f"/spool/{kind}.dcm"),
            sha256="0",
            created_at=job.created_at,
        )
        for kind in kinds
    ]


def finish(ledger: Ledger, job: JobRecord) -> tuple[str, ...]:
    ledger.jobs.start(job)
    return ledger.jobs.finish(job, "Brain 1.0 mL", {"forward": 2.0}, results(job), KINDS)


def live(ledger: Ledger, *job_ids: str) -> set[str]:
    return {
        each.sop_instance_uid
        for job_id in job_ids
        for each in ledger.jobs.results_of(job_id)
        if not each.superseded
    }


def test_a_finished_job_asks_for_the_deliveries_each_destination_takes(ledger: Ledger) -> None:
    assert len(finish(ledger, queue_job(ledger))) == 3
    asked = {(each.destination, each.kind) for each in ledger.deliveries.due()}
    assert asked == {("pacs", "SEG"), ("pacs", "SR"), ("folder", "SEG")}
    assert ledger.jobs.get("j1").seconds == {"forward": 2.0}


def test_finishing_twice_delivers_once(ledger: Ledger) -> None:
    job = queue_job(ledger)
    finish(ledger, job)
    assert finish(ledger, job) == ()
    assert len(ledger.deliveries.list()) == 3


def test_a_later_generation_supersedes_and_cancels_what_was_not_sent(ledger: Ledger) -> None:
    finish(ledger, queue_job(ledger, "j1"))
    finish(ledger, queue_job(ledger, "j2", generation=2))
    assert live(ledger, "j1", "j2") == {"j2.1.SEG", "j2.1.SR"}
    states = {each.state for each in ledger.deliveries.list(job_id="j1")}
    assert states == {DeliveryState.CANCELLED}


def test_stacks_of_one_series_do_not_replace_each_other(ledger: Ledger) -> None:
    finish(ledger, queue_job(ledger, "j1", stack="Echo Time 1"))
    second = queue_job(ledger, "j2", stack="Echo Time 4.6")
    assert ledger.jobs.live_predecessors(second) == ()
    finish(ledger, second)
    assert live(ledger, "j1", "j2") == {"j1.1.SEG", "j1.1.SR", "j2.1.SEG", "j2.1.SR"}
    finish(ledger, queue_job(ledger, "j3", generation=2, stack="Echo Time 1"))
    assert live(ledger, "j1", "j2") == {"j2.1.SEG", "j2.1.SR"}


@pytest.mark.parametrize(("first", "then"), [("", "Echo Time 1"), ("Echo Time 1", "")])
def test_a_series_that_falls_into_stacks_or_out_of_them_is_replaced(
    ledger: Ledger, first: str, then: str
) -> None:
    finish(ledger, queue_job(ledger, "j1", stack=first))
    finish(ledger, queue_job(ledger, "j2", generation=2, stack=then))
    assert live(ledger, "j1", "j2") == {"j2.1.SEG", "j2.1.SR"}


def test_an_overtaken_job_delivers_nothing(ledger: Ledger) -> None:
    early, late = queue_job(ledger, "j1"), queue_job(ledger, "j2", generation=2)
    finish(ledger, late)
    assert finish(ledger, early) == ()
    assert live(ledger, "j1", "j2") == {"j2.1.SEG", "j2.1.SR"}


def test_a_retry_is_a_new_attempt_that_replaces_the_first(ledger: Ledger) -> None:
    finish(ledger, queue_job(ledger))
    again = ledger.jobs.retry("j1")
    assert (again.attempt, again.state) == (2, JobState.QUEUED)
    predecessors = {each.sop_instance_uid for each in ledger.jobs.live_predecessors(again)}
    assert predecessors == {"j1.1.SEG", "j1.1.SR"}
    finish(ledger, again)
    assert live(ledger, "j1") == {"j1.2.SEG", "j1.2.SR"}


def test_a_stale_attempt_changes_nothing(ledger: Ledger) -> None:
    job = queue_job(ledger)
    ledger.jobs.fail(job, Failure("GeometryError", "gap of 10 mm"))
    ledger.jobs.retry("j1")
    assert not ledger.jobs.start(job)
    ledger.jobs.fail(job, Failure("X", "stale"))
    assert ledger.jobs.get("j1").state == JobState.QUEUED


def test_a_running_job_cannot_be_retried(ledger: Ledger) -> None:
    ledger.jobs.start(queue_job(ledger))
    with pytest.raises(LedgerError, match="job j1 is running"):
        ledger.jobs.retry("j1")


def test_a_job_that_was_put_off_comes_back_when_its_time_has_come(
    ledger: Ledger, clock: Clock
) -> None:
    job = queue_job(ledger)
    assert ledger.jobs.start(job)
    ledger.jobs.put_off(job, Failure("InferenceUnavailableError", "no server"), 30.0)
    waiting = ledger.jobs.get(job.job_id)
    assert (waiting.state, waiting.attempt, waiting.attempts_since_retry) == ("queued", 2, 1)
    assert waiting.failure is not None
    assert waiting.failure.message == "no server"
    clock.advance(29.9)
    assert ledger.jobs.due() == ()
    clock.advance(0.2)
    assert [each.attempt for each in ledger.jobs.due()] == [2]
    assert ledger.jobs.start(waiting)
    assert ledger.jobs.get(job.job_id).failure is None


def test_a_person_need_not_wait_for_a_job_that_was_put_off(ledger: Ledger) -> None:
    job = queue_job(ledger)
    ledger.jobs.start(job)
    ledger.jobs.put_off(job, Failure("InferenceUnavailableError", "no server"), 3000.0)
    retried = ledger.jobs.retry(job.job_id)
    assert (retried.attempt, retried.attempts_since_retry, retried.next_try_at) == (3, 0, None)
    assert ledger.jobs.due() == (retried,)


def test_a_queued_job_is_cancelled_at_once(ledger: Ledger) -> None:
    job = queue_job(ledger)
    assert ledger.jobs.cancel("j1").state == JobState.CANCELLED
    assert not ledger.jobs.start(job)


def test_a_running_job_hears_of_its_cancellation(ledger: Ledger) -> None:
    job = queue_job(ledger)
    ledger.jobs.start(job)
    assert not ledger.jobs.progress(job, "forward", 0.5)
    assert ledger.jobs.cancel("j1").state == JobState.RUNNING
    assert ledger.jobs.progress(job, "forward", 0.6)
    ledger.jobs.cancelled(job)
    assert ledger.jobs.get("j1").state == JobState.CANCELLED


def test_counts_name_every_state(ledger: Ledger) -> None:
    queue_job(ledger)
    counts = ledger.jobs.counts()
    assert counts[JobState.QUEUED] == 1
    assert set(counts) == set(JobState)


def test_a_failed_try_comes_back_when_its_time_has_come(ledger: Ledger, clock: Clock) -> None:
    finish(ledger, queue_job(ledger))
    (tried,) = [each for each in ledger.deliveries.due() if each.destination == "folder"]
    ledger.deliveries.failed(tried, Failure("DestinationUnavailableError", "refused"), 30.0)
    assert tried.delivery_id not in {each.delivery_id for each in ledger.deliveries.due()}
    clock.advance(30)
    (again,) = [each for each in ledger.deliveries.due() if each.destination == "folder"]
    assert (again.attempt, again.failure.message) == (1, "refused")


def test_a_dead_letter_waits_for_a_person(ledger: Ledger, clock: Clock) -> None:
    finish(ledger, queue_job(ledger))
    tried = ledger.deliveries.due()[0]
    ledger.deliveries.failed(tried, Failure("StoreRefusedError", "C000"), None)
    clock.advance(1e6)
    assert tried.delivery_id not in {each.delivery_id for each in ledger.deliveries.due()}
    back = ledger.deliveries.retry(tried.delivery_id)
    assert (back.state, back.attempt, back.attempts_since_retry) == (DeliveryState.PENDING, 1, 0)
    assert back.path == tried.path


def test_only_dead_letters_are_retried(ledger: Ledger) -> None:
    finish(ledger, queue_job(ledger))
    with pytest.raises(LedgerError, match="is pending"):
        ledger.deliveries.retry(ledger.deliveries.due()[0].delivery_id)


def test_a_stale_try_changes_nothing(ledger: Ledger) -> None:
    finish(ledger, queue_job(ledger))
    tried = ledger.deliveries.due()[0]
    ledger.deliveries.delivered(tried, "0000: success")
    ledger.deliveries.failed(tried, Failure("X", "stale"), None)
    assert ledger.deliveries.get(tried.delivery_id).state == DeliveryState.DELIVERED


@pytest.mark.parametrize("book", ["jobs", "deliveries"])
def test_an_unknown_id_is_an_error(ledger: Ledger, book: str) -> None:
    with pytest.raises(LedgerError, match="nothing"):
        getattr(ledger, book).get("nothing")

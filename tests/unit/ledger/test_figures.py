"""What a program that watches is told of queues, backlogs and dead letters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from conftest import Clock
from facts import STUDY, instance
from unit.ledger.test_jobs import finish, queue_job
from wetread.ledger import Failure, Ledger
from wetread.ledger.figures import Backlog, Queue
from wetread.study import Completion

AWAY = Failure("DestinationUnavailableError", "refused")


def test_a_quiet_ledger_has_nothing_to_do(ledger: Ledger) -> None:
    assert set(ledger.figures.queues().values()) == {Queue(0, None)}
    assert ledger.figures.backlogs() == ledger.figures.dead_letters() == {}
    assert ledger.figures.studies_arriving() == ledger.figures.requests_waiting() == 0


def test_a_study_waits_to_come_then_to_be_routed(ledger: Ledger, clock: Clock) -> None:
    ledger.studies.record_instance(instance(1), sha256="1", size_bytes=1)
    assert ledger.figures.studies_arriving() == 1
    completion = Completion("asked", 0.0, datetime.fromtimestamp(clock(), UTC))
    ledger.studies.mark_complete(STUDY, 1, completion)
    assert ledger.figures.studies_arriving() == 0
    assert ledger.figures.queues()["study"] == Queue(1, pytest.approx(clock()))


def test_a_job_waits_since_it_was_made_and_not_while_it_is_put_off(
    ledger: Ledger, clock: Clock
) -> None:
    made = clock()
    job = queue_job(ledger)
    clock.advance(10)
    assert ledger.figures.queues()["job"] == Queue(1, made)
    ledger.jobs.start(job)
    assert ledger.figures.queues()["job"] == Queue(0)
    ledger.jobs.put_off(job, AWAY, 30.0)
    assert ledger.figures.queues()["job"] == Queue(1)
    clock.advance(50)
    assert ledger.figures.queues()["job"] == Queue(1, made + 40)


def test_of_what_a_destination_waits_for_some_has_failed(ledger: Ledger, clock: Clock) -> None:
    made = clock()
    job = queue_job(ledger)
    ledger.jobs.start(job)
    finish(ledger, job)
    [tried, lost] = ledger.deliveries.list(destination="pacs")
    ledger.deliveries.failed(tried, AWAY, 30.0)
    assert ledger.figures.backlogs() == {
        "pacs": Backlog(2, 1, made),
        "folder": Backlog(1, 0, made),
    }
    ledger.deliveries.failed(lost, Failure("StoreRefusedError", "C000"), None)
    assert ledger.figures.dead_letters() == {"pacs": 1}
    assert ledger.figures.backlogs()["pacs"] == Backlog(1, 1, made)


def test_the_last_success_of_a_destination(ledger: Ledger, clock: Clock) -> None:
    job = queue_job(ledger)
    ledger.jobs.start(job)
    finish(ledger, job)
    for each in ledger.deliveries.list(destination="pacs"):
        clock.advance(5)
        ledger.deliveries.delivered(each, "0000", commit=True)
    assert ledger.figures.delivered_at() == {"pacs": clock()}
    assert ledger.figures.commitments_open() == {"pacs": 2}

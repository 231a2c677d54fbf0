"""What the dashboard asks of all books at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Clock
from facts import STUDY, instance
from wetread.errors import LedgerError
from wetread.ledger import DeliveryState, Failure, JobState, Ledger, NewJob, ResultRecord
from wetread.ledger.overview import Progress, Runs

AWAY = Failure("DestinationUnavailableError", "pacs cannot be reached", "is it up?")


def finish(ledger: Ledger, clock: Clock, number: int) -> str:
    """A job that took 2 s and wrote one object for `pacs`; gives the delivery's id."""
    name = f"j{number}"
    ledger.studies.record_decision(
        STUDY, 1, {}, [NewJob(name, f"1.2.3.{number}", "every CT", "tiny", ("pacs",), 100)]
    )
    job = ledger.jobs.get(name)
    ledger.jobs.start(job)
    clock.advance(2.0)
    written = ResultRecord(
        f"9.{number}", name, 1, 1, "SEG", "1.2", STUDY, f"1.2.3.{number}", "9", "tiny",
        Path("/spool/seg.dcm"), "0", clock.now,
    )  # fmt: skip
    [delivery] = ledger.jobs.finish(job, "Brain 1.0 mL", {}, [written], {"pacs": ["SEG"]})
    return delivery


@pytest.fixture(autouse=True)
def _a_study(ledger: Ledger, clock: Clock) -> None:
    ledger.studies.record_instance(instance(at=clock.now), sha256="0", size_bytes=1)


def test_a_destination_fails_until_something_arrives_there(ledger: Ledger, clock: Clock) -> None:
    assert ledger.overview.traffic() == {}
    first = finish(ledger, clock, 1)
    assert ledger.overview.traffic()["pacs"].failing is None
    ledger.deliveries.failed(ledger.deliveries.get(first), AWAY, 60.0)
    traffic = ledger.overview.traffic()["pacs"]
    assert traffic.counts == {DeliveryState.PENDING: 1}
    assert traffic.failing.delivery_id == first
    clock.advance(1.0)
    second = finish(ledger, clock, 2)
    ledger.deliveries.delivered(ledger.deliveries.get(second), "0000: stored")
    traffic = ledger.overview.traffic()["pacs"]
    assert traffic.counts == {DeliveryState.PENDING: 1, DeliveryState.DELIVERED: 1}
    assert (traffic.delivered_at, traffic.failing) == (clock.now, None)


def test_runs_are_those_that_ended_since(ledger: Ledger, clock: Clock) -> None:
    finish(ledger, clock, 1)
    middle = clock.now + 1
    clock.advance(10.0)
    finish(ledger, clock, 2)
    assert ledger.overview.runs(middle) == {"tiny": Runs(done=1, failed=0, seconds=(2.0,))}
    assert ledger.overview.runs(0.0)["tiny"].done == 2


def test_the_pulse_changes_with_what_a_page_shows_and_with_nothing_else(
    ledger: Ledger, clock: Clock
) -> None:
    before = ledger.overview.pulse()
    clock.advance(1.0)
    assert ledger.overview.pulse() == before
    ledger.studies.record_instance(instance(2, at=clock.now), sha256="1", size_bytes=1)
    arrived = ledger.overview.pulse()
    assert arrived != before
    ledger.studies.record_decision(
        STUDY, 1, {}, [NewJob("j1", "1.2.3.4", "every CT", "tiny", ("pacs",), 100)]
    )
    ledger.jobs.start(ledger.jobs.get("j1"))
    begun = ledger.overview.pulse()
    assert begun != arrived
    ledger.jobs.progress(ledger.jobs.get("j1"), "infer", 0.5)
    assert ledger.overview.pulse() != begun


def test_progress_is_of_jobs_deliveries_and_what_was_found(ledger: Ledger, clock: Clock) -> None:
    assert ledger.overview.progress([STUDY]) == {}
    first, _ = finish(ledger, clock, 1), finish(ledger, clock, 2)
    ledger.deliveries.failed(ledger.deliveries.get(first), AWAY, None)
    job = NewJob("j3", "1.2.3.3", "every CT", "tiny", ("pacs",), 100)
    ledger.studies.record_decision(STUDY, 1, {}, [job])
    progress = ledger.overview.progress([STUDY, "1.9"])
    assert progress == {
        (STUDY, 1): Progress(
            {JobState.DONE: 2, JobState.QUEUED: 1},
            {DeliveryState.DEAD: 1, DeliveryState.PENDING: 1},
            ("Brain 1.0 mL", "Brain 1.0 mL"),
        )
    }


def test_images_are_counted_by_generation(ledger: Ledger) -> None:
    assert ledger.overview.images(STUDY) == {1: 1}
    assert ledger.overview.images("1.9") == {}


def test_a_delivery_is_given_up_while_it_waits_or_is_dead(ledger: Ledger, clock: Clock) -> None:
    waiting, dead, done = (finish(ledger, clock, number) for number in (1, 2, 3))
    ledger.deliveries.failed(ledger.deliveries.get(dead), AWAY, None)
    ledger.deliveries.delivered(ledger.deliveries.get(done), "0000: stored")
    for each in (waiting, dead):
        assert ledger.deliveries.cancel(each).state == DeliveryState.CANCELLED
    named = [each.content["ParticipantObjectIdentification"] for each in ledger.trail.read()]
    given_up = [each[-1]["ParticipantObjectID"] for each in named]
    assert given_up[-2:] == [f"urn:wetread:delivery:{each}" for each in (waiting, dead)]
    with pytest.raises(LedgerError, match=f"delivery {done} is delivered"):
        ledger.deliveries.cancel(done)
    assert ledger.deliveries.due() == ()
    assert ledger.studies.history(STUDY)[-1].event == "SEG to pacs cancelled"

"""One generation of a study as spans: what follows what, and what is an error."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from conftest import Clock
from facts import STUDY, instance
from wetread.ledger import DeliveryState, Failure, JobState, Ledger, NewJob, ResultRecord
from wetread.study import Completion
from wetread.traces.spans import Span, spans_of, story_of

GAP = Failure("GeometryError", "patient Doe: gap of 10.0 mm", "ask the sender")
AWAY = Failure("DestinationUnavailableError", "pacs: refused", "wait")


def route(ledger: Ledger, clock: Clock, *jobs: NewJob) -> None:
    """A study of two instances 4 s apart, complete 30 s later, routed 1 s after that."""
    for number in (1, 2):
        came = instance(number, at=clock.now + 4 * (number - 1))
        ledger.studies.record_instance(came, sha256=str(number), size_bytes=1)
    clock.advance(34)
    complete = Completion("quiet", 30.0, datetime.fromtimestamp(clock.now, UTC))
    ledger.studies.mark_complete(STUDY, 1, complete)
    clock.advance(1)
    ledger.studies.record_decision(STUDY, 1, {}, jobs)


def finish(ledger: Ledger, clock: Clock, job_id: str) -> str:
    """Read in 5 s after a wait of 2 s, one delivery wanted; its id."""
    clock.advance(2)
    job = ledger.jobs.get(job_id)
    ledger.jobs.start(job)
    clock.advance(5)
    uids = (f"{job_id}.{job.attempt}", job_id, job.attempt, 1, "SEG", "1.2", STUDY, "1.2.3.4", "9")
    written = ResultRecord(*uids, "brain", Path("/spool/seg.dcm"), "0", clock.now)
    seconds = {"load": 1.0, "forward": 3.0}
    [asked] = ledger.jobs.finish(job, "Brain 1.0 mL", seconds, [written], {"pacs": ["SEG"]})
    return asked


def job(job_id: str = "j1") -> NewJob:
    return NewJob(job_id, "1.2.3.4", "head", "brain", ("pacs",), 100)


def told(ledger: Ledger, device_uid: str = "2.25.1") -> tuple[Span, ...]:
    return spans_of(story_of(ledger, STUDY, 1), device_uid)


def seconds(spans: tuple[Span, ...], start: float) -> dict[str, tuple[float, float]]:
    return {each.name: (each.start - start, each.end - start) for each in spans}


def test_each_step_stands_where_the_ledger_has_it(ledger: Ledger, clock: Clock) -> None:
    start = clock.now
    route(ledger, clock, job())
    asked = finish(ledger, clock, "j1")
    clock.advance(3)
    assert not story_of(ledger, STUDY, 1).is_settled
    ledger.deliveries.delivered(ledger.deliveries.get(asked), "0000: stored")
    assert story_of(ledger, STUDY, 1).is_settled
    spans = told(ledger)
    assert seconds(spans, start) == {
        "study": (0, 45),
        "receive": (0, 4),
        "assemble": (4, 34),
        "route": (34, 35),
        "job": (35, 45),
        "queue": (35, 37),
        "read": (37, 42),
        "load": (37, 38),
        "forward": (38, 41),
        "deliver": (42, 45),
    }
    assert not any(each.error for each in spans)
    names = {each.span_id: each.name for each in spans}
    parents = {each.name: names.get(each.parent_id) for each in spans}
    assert parents["study"] is None
    assert {parents[name] for name in ("receive", "assemble", "route", "job")} == {"study"}
    assert {parents[name] for name in ("queue", "read", "deliver")} == {"job"}
    assert {parents[name] for name in ("load", "forward")} == {"read"}


def test_the_ids_are_the_same_each_time_and_others_elsewhere(ledger: Ledger, clock: Clock) -> None:
    route(ledger, clock, job("j1"), job("j2"))
    for each in ("j1", "j2"):
        finish(ledger, clock, each)
    once, again, elsewhere = told(ledger), told(ledger), told(ledger, "2.25.2")
    assert once == again
    assert len({each.trace_id for each in once}) == 1
    assert len({each.span_id for each in once}) == len(once) == 16
    assert not {each.span_id for each in once} & {each.span_id for each in elsewhere}
    assert once[0].trace_id != elsewhere[0].trace_id


def test_a_failure_is_told_by_its_class_alone(ledger: Ledger, clock: Clock) -> None:
    route(ledger, clock, job("j1"), job("j2"), job("j3"))
    clock.advance(2)
    failing = ledger.jobs.get("j1")
    ledger.jobs.start(failing)
    ledger.jobs.progress(failing, "load", 0.0)
    ledger.jobs.fail(failing, GAP)
    ledger.jobs.cancel("j2")
    asked = finish(ledger, clock, "j3")
    ledger.deliveries.failed(ledger.deliveries.get(asked), AWAY, 60.0)
    clock.advance(60)
    ledger.deliveries.failed(ledger.deliveries.get(asked), AWAY, None)
    spans = told(ledger)
    by_job = {each.attributes["wetread.job_id"]: each for each in spans if each.name == "job"}
    assert [by_job[each].error for each in ("j1", "j2", "j3")] == ["GeometryError", "", ""]
    assert by_job["j1"].attributes["wetread.stage"] == "load"
    assert by_job["j2"].attributes["wetread.state"] == JobState.CANCELLED
    [letter] = [each for each in spans if each.name == "deliver"]
    assert letter.error == "DestinationUnavailableError"
    assert letter.attributes["wetread.state"] == DeliveryState.DEAD
    assert letter.attributes["wetread.attempts"] == 2
    assert letter.end - letter.start == 60
    assert spans[0].error == "GeometryError"
    assert sum(each.name == "read" for each in spans) == 2
    assert "Doe" not in repr(spans)


def test_a_study_that_no_rule_could_judge_ends_with_its_routing(
    ledger: Ledger, clock: Clock
) -> None:
    route(ledger, clock)
    ledger.studies.fail(STUDY, 1, replace(GAP, error="RoutingError"))
    spans = told(ledger)
    assert [(each.name, each.error) for each in spans] == [
        ("study", "RoutingError"),
        ("receive", ""),
        ("assemble", ""),
        ("route", "RoutingError"),
    ]


def test_what_an_attempt_before_has_sent_lies_within_its_job(ledger: Ledger, clock: Clock) -> None:
    route(ledger, clock, job())
    finish(ledger, clock, "j1")
    ledger.jobs.retry("j1")
    asked = finish(ledger, clock, "j1")
    ledger.deliveries.delivered(ledger.deliveries.get(asked), "0000: stored")
    spans = told(ledger)
    [of_job] = [each for each in spans if each.name == "job"]
    sent = [each for each in spans if each.name == "deliver"]
    assert [each.attributes["wetread.state"] for each in sent] == ["cancelled", "delivered"]
    assert all(of_job.start <= each.start <= each.end <= of_job.end for each in spans[5:])

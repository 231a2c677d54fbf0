"""When a study is complete, to the second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strategies import arrival_seconds
from wetread.config import AssemblyConfig, QuietTimes
from wetread.ledger import ArrivingStudy, SeriesArrival, StudyRecord, StudyState
from wetread.receive.assembly import Waiting, assess
from wetread.study import Completion

TIMES = AssemblyConfig(series_quiet_seconds=30, study_quiet_seconds=120, study_max_wait_seconds=900)
NOBODY: frozenset[str] = frozenset()
SENDER = frozenset({"CT_ROOM1"})


def arriving(first: float = 0.0, last: float = 0.0, *, requested: bool = False) -> ArrivingStudy:
    record = StudyRecord(
        study_instance_uid="1.2.3",
        generation=1,
        state=StudyState.ARRIVING,
        calling_ae_title="CT_ROOM1",
        first_received_at=first,
        last_received_at=last,
        complete_requested=requested,
        completed_at=None,
        completion_reason=None,
        waited_seconds=None,
        decision=None,
        failure=None,
    )
    return ArrivingStudy(record, SENDER, (SeriesArrival("1.2.3.4", last, 5),))


def test_a_study_waits_while_instances_come() -> None:
    assert isinstance(assess(arriving(0, 10), TIMES, NOBODY, 39.9), Waiting)


def test_quiet_series_of_a_sender_that_has_gone_are_complete() -> None:
    verdict = assess(arriving(0, 10), TIMES, NOBODY, 40.0)
    assert isinstance(verdict, Completion)
    assert verdict.reason == "every series quiet for 30 s, senders gone"
    assert verdict.waited_seconds == 30.0


def test_an_open_association_keeps_the_study_open() -> None:
    verdict = assess(arriving(0, 10), TIMES, SENDER, 129.0)
    assert isinstance(verdict, Waiting)
    assert "CT_ROOM1" in verdict.reason
    assert verdict.until == 130.0


def test_an_association_of_somebody_else_does_not() -> None:
    assert isinstance(assess(arriving(0, 10), TIMES, frozenset({"MR"}), 40.0), Completion)


def test_a_quiet_study_is_complete_even_with_an_open_association() -> None:
    verdict = assess(arriving(0, 10), TIMES, SENDER, 130.0)
    assert isinstance(verdict, Completion)
    assert verdict.reason == "study quiet for 120 s"


def test_no_study_waits_longer_than_the_maximum() -> None:
    verdict = assess(arriving(0, 899.9), TIMES, SENDER, 900.0)
    assert isinstance(verdict, Completion)
    assert verdict.reason == "maximum wait of 900 s"


def test_a_person_ends_the_wait() -> None:
    verdict = assess(arriving(0, 10, requested=True), TIMES, SENDER, 10.5)
    assert isinstance(verdict, Completion)
    assert verdict.reason == "asked for by a person"


def test_a_caller_has_its_own_times() -> None:
    slow = TIMES.model_copy(update={"callers": {"CT_ROOM1": QuietTimes(series_quiet_seconds=60)}})
    assert isinstance(assess(arriving(0, 10), slow, NOBODY, 69.0), Waiting)
    assert isinstance(assess(arriving(0, 10), slow, NOBODY, 70.0), Completion)


def test_a_time_with_closed_doors_is_no_quiet() -> None:
    """After ten minutes down the sender has 30 s to go on, not none."""
    assert isinstance(assess(arriving(0, 10), TIMES, NOBODY, 639.9, listening_since=610), Waiting)
    verdict = assess(arriving(0, 10), TIMES, NOBODY, 640.0, listening_since=610)
    assert isinstance(verdict, Completion)
    assert verdict.waited_seconds == 30.0


def test_a_time_with_closed_doors_is_no_wait() -> None:
    verdict = assess(arriving(0, 1000), TIMES, SENDER, 1000.0, listening_since=950)
    assert isinstance(verdict, Waiting)
    assert verdict.until == 1120.0


@given(last=arrival_seconds, wait=arrival_seconds, callers=st.sampled_from([NOBODY, SENDER]))
def test_waiting_longer_never_undoes_a_completion(
    last: float, wait: float, callers: frozenset[str]
) -> None:
    now = last + wait
    if isinstance(assess(arriving(0, last), TIMES, callers, now), Completion):
        assert isinstance(assess(arriving(0, last), TIMES, callers, now + 1), Completion)


@given(last=arrival_seconds, wait=arrival_seconds)
def test_nothing_changes_before_the_time_that_waiting_names(last: float, wait: float) -> None:
    verdict = assess(arriving(0, last), TIMES, NOBODY, last + wait)
    if isinstance(verdict, Waiting):
        just_before = verdict.until - 1e-3
        if just_before > last + wait:
            assert isinstance(assess(arriving(0, last), TIMES, NOBODY, just_before), Waiting)

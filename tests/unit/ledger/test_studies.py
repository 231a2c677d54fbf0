"""The book of studies: nothing that arrives is lost, and late instances start a generation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from conftest import Clock
from facts import STUDY, instance
from wetread.errors import LedgerError
from wetread.ledger import Failure, Ledger, NewJob, StudyState
from wetread.study import Completion, ReceivedInstance

DONE = Completion("study quiet for 120 s", 120.0, datetime.fromtimestamp(1_000_200, UTC))


def record(ledger: Ledger, received: ReceivedInstance, sha256: str = "") -> tuple[int, bool]:
    arrival = ledger.studies.record_instance(
        received, sha256=sha256 or received.sop_instance_uid, size_bytes=512
    )
    return arrival.generation, arrival.duplicate


def test_instances_of_a_study_share_a_generation_until_it_is_complete(ledger: Ledger) -> None:
    assert [record(ledger, instance(number)) for number in (1, 2, 3)] == [(1, False)] * 3
    assert ledger.studies.mark_complete(STUDY, 1, DONE)
    assert record(ledger, instance(4)) == (2, False)
    assert [len(ledger.studies.instances_of(STUDY, generation)) for generation in (1, 2)] == [3, 4]


def test_a_study_is_completed_once(ledger: Ledger) -> None:
    record(ledger, instance())
    assert ledger.studies.mark_complete(STUDY, 1, DONE)
    assert not ledger.studies.mark_complete(STUDY, 1, DONE)


def test_the_same_bytes_again_change_nothing(ledger: Ledger) -> None:
    record(ledger, instance(1))
    assert record(ledger, instance(1)) == (1, True)
    ledger.studies.mark_complete(STUDY, 1, DONE)
    assert record(ledger, instance(1)) == (1, True)
    assert ledger.studies.get(STUDY).generation == 1


def test_a_duplicate_prolongs_the_wait(ledger: Ledger) -> None:
    record(ledger, instance(1, at=100.0))
    record(ledger, instance(1, at=150.0))
    assert ledger.studies.get(STUDY).last_received_at == 150.0


def test_other_bytes_under_the_same_uid_replace_the_earlier_ones(ledger: Ledger) -> None:
    first = instance(1)
    corrected = ReceivedInstance(
        **{name: getattr(first, name) for name in first.__slots__} | {"path": Path("/spool/b.dcm")}
    )
    record(ledger, first, "a")
    record(ledger, corrected, "b")
    assert [each.path for each in ledger.studies.instances_of(STUDY, 1)] == [Path("/spool/b.dcm")]


def test_arriving_studies_tell_callers_and_series(ledger: Ledger) -> None:
    record(ledger, instance(1, at=100.0, series="1.1", caller="A"))
    record(ledger, instance(2, at=101.0, series="1.1", caller="A"))
    record(ledger, instance(1, at=105.0, series="1.2", caller="B"))
    (arriving,) = ledger.studies.arriving()
    assert arriving.calling_ae_titles == {"A", "B"}
    found = {each.series_instance_uid: each for each in arriving.series}
    assert (found["1.1"].instances, found["1.1"].last_received_at) == (2, 101.0)
    assert (found["1.2"].instances, found["1.2"].last_received_at) == (1, 105.0)


def test_a_person_can_end_the_wait(ledger: Ledger) -> None:
    record(ledger, instance())
    ledger.studies.request_complete(STUDY)
    assert ledger.studies.arriving()[0].record.complete_requested


def test_only_an_arriving_study_can_be_completed_by_hand(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"1\.2\.3 is not waiting for instances"):
        ledger.studies.request_complete(STUDY)


def test_a_decision_queues_its_jobs_once(ledger: Ledger) -> None:
    record(ledger, instance())
    ledger.studies.mark_complete(STUDY, 1, DONE)
    job = NewJob("j1", "1.2.3.4", "a rule", "brain", ("pacs",), 100)
    for _ in range(2):
        ledger.studies.record_decision(STUDY, 1, {"outcomes": []}, [job])
    assert ledger.studies.get(STUDY).state == StudyState.ROUTED
    assert [each.job_id for each in ledger.jobs.list()] == ["j1"]
    said = [each.event for each in ledger.studies.history(STUDY) if each.stage == "route"]
    assert said == ["rule 'a rule': brain on series 1.2.3.4"]


def test_a_failed_study_keeps_its_reason(ledger: Ledger) -> None:
    record(ledger, instance())
    ledger.studies.fail(STUDY, 1, Failure("RoutingError", "age is 'x'", "correct it"))
    failure = ledger.studies.get(STUDY).failure
    assert failure == Failure("RoutingError", "age is 'x'", "correct it")


def test_words_from_anywhere_can_be_kept(ledger: Ledger) -> None:
    """A NUL in a sender's title or in an error, or half of a surrogate pair."""
    record(ledger, instance(caller="CT\0ROOM"))
    ledger.studies.fail(STUDY, 1, Failure("RoutingError", "age is '4\0 \udc80'"))
    assert ledger.studies.get(STUDY).calling_ae_title == r"CT\x00ROOM"
    assert ledger.studies.history(STUDY)[-1].event == r"failed: age is '4\x00 \udc80'"


def test_history_tells_what_happened_in_order(ledger: Ledger, clock: Clock) -> None:
    record(ledger, instance())
    clock.advance(5)
    ledger.studies.mark_complete(STUDY, 1, DONE)
    events = ledger.studies.history(STUDY)
    assert [(each.at - 1_000_000, each.stage) for each in events] == [
        (0, "receive"),
        (5, "assemble"),
    ]


def test_an_unknown_study_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"no study 9\.9"):
        ledger.studies.get("9.9")


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    Ledger(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE properties SET value = '99' WHERE name = 'schema_version'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="schema version 99"):
        Ledger(url)


def test_a_ledger_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"this is no database, whatever its name says")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")


def test_the_device_uid_is_made_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    uids = set()
    for _ in range(2):
        ledger = Ledger(url)
        uids.add(ledger.device_uid())
        ledger.close()
    assert len(uids) == 1

"""The audit trail: what happened is there with it, nothing of it can go, and it shows if it did."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from conftest import Clock
from facts import STUDY, instance
from wetread.audit import events
from wetread.audit.events import Outcome
from wetread.errors import LedgerError
from wetread.ledger import Failure, Ledger, NewJob, chain
from wetread.study import Completion

GAP = Failure("GeometryError", "series 1.2.3.4: gap of 10.0 mm", "ask the sender")
TARGET = "tcp://siem:514"


def arrive(ledger: Ledger) -> None:
    ledger.studies.record_instance(instance(), sha256="0", size_bytes=1)


def arrive_often(ledger: Ledger) -> None:
    for number in range(50):
        each = instance(number, study=f"1.2.{number}")
        ledger.studies.record_instance(each, sha256="0", size_bytes=1)


def kinds(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Event, type and outcome of each."""
    found = [each.content["EventIdentification"] for each in ledger.trail.read()]
    return [
        (
            each["EventID"]["originalText"],
            each["EventTypeCode"][0]["originalText"],
            each["EventOutcomeIndicator"],
        )
        for each in found
    ]


def test_the_way_of_a_study_is_an_event_for_each_step_and_none_for_each_slice(
    ledger: Ledger, clock: Clock
) -> None:
    for number in range(3):
        ledger.studies.record_instance(instance(number), sha256=str(number), size_bytes=1)
    ledger.studies.mark_complete(STUDY, 1, Completion("quiet", 30.0, instance().received_at))
    ledger.studies.record_decision(
        STUDY, 1, {}, [NewJob("j1", "1.2.3.4", "every CT", "tiny", ("pacs",), 100)]
    )
    job = ledger.jobs.get("j1")
    ledger.jobs.start(job)
    ledger.jobs.fail(job, GAP)
    ledger.jobs.retry("j1")
    assert kinds(ledger) == [
        ("Begin Transferring DICOM Instances", "Received", "0"),
        ("DICOM Instances Transferred", "Received", "0"),
        ("DICOM Instances Accessed", "Routed by rules", "0"),
        ("DICOM Instances Accessed", "Read by a model", "8"),
        ("Security Alert", "Use of Restricted Function", "0"),
    ]
    [_, received, *_] = ledger.trail.read(study=STUDY)
    described = received.content["ParticipantObjectIdentification"][0]
    assert described["ParticipantObjectDescription"][0]["SOPClass"] == [
        {"UID": "1.2.840.10008.5.1.4.1.1.2", "NumberOfInstances": "3"}
    ]


def test_what_fails_leaves_no_event_and_an_event_that_fails_leaves_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LedgerError, match="not waiting"):
        ledger.studies.request_complete(STUDY)
    assert kinds(ledger) == []
    # As on a disk with no room for an event.
    monkeypatch.setattr(chain, "digest_of", lambda *_: None)
    with pytest.raises(LedgerError, match=r"(?i)null"):
        arrive(ledger)
    assert ledger.studies.arriving() == ()
    assert list(ledger.trail.read()) == []


def test_without_room_for_the_event_an_instance_is_not_acknowledged(tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path / 'full.sqlite3'}")) as ledger:
        with ledger._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(LedgerError, match="full"):
            arrive_often(ledger)
        arrived = len(ledger.studies.arriving())
        assert arrived == len(list(ledger.trail.read())) < 50


@pytest.mark.parametrize("statement", ["UPDATE audit SET at = 0", "DELETE FROM audit"])
def test_the_database_refuses_to_change_or_remove_an_event(ledger: Ledger, statement: str) -> None:
    arrive(ledger)
    with pytest.raises(LedgerError, match="added to only"), ledger.trail._transaction() as database:
        database.execute(text(statement))
    assert ledger.trail.verify().number == 1


_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"


def behind_its_back(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_is_kept"))
            connection.execute(text(statement))
            connection.execute(text("ALTER TABLE audit ENABLE TRIGGER audit_is_kept"))
            return
        kept = connection.execute(text(_TRIGGERS)).all()
        for name, _ in kept:
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text(statement))
        for _, trigger in kept:
            connection.execute(text(trigger))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM audit WHERE number = 2", "audit events 2 to 2 are not there"),
        ("DELETE FROM audit WHERE number = 1", "audit events 1 to 1 are not there"),
        (
            "UPDATE audit SET message = replace(message, 'bob', 'eve') WHERE number = 2",
            "audit event 2 was changed",
        ),
        ("UPDATE audit SET sha256 = previous_sha256 WHERE number = 2", "audit event 2 was changed"),
    ],
)
def test_what_is_changed_or_removed_behind_its_back_shows(
    ledger: Ledger, statement: str, said: str
) -> None:
    for name in ("ann", "bob", "cat"):
        ledger.trail.record(events.logged_in(name))
    behind_its_back(ledger._engine, statement)
    with pytest.raises(LedgerError, match=said):
        ledger.trail.verify()


def test_an_end_that_was_cut_off_or_written_anew_shows_against_a_digest_that_was_noted(
    ledger: Ledger,
) -> None:
    for name in ("ann", "bob"):
        ledger.trail.record(events.logged_in(name))
    last = ledger.trail.verify()
    assert last is not None
    known = {last.number: last.sha256}
    assert ledger.trail.verify(known) == last
    behind_its_back(ledger._engine, "DELETE FROM audit WHERE number = 2")
    assert ledger.trail.verify().number == 1
    with pytest.raises(LedgerError, match="event 2 is not there; the last is 1"):
        ledger.trail.verify(known)
    ledger.trail.record(events.logged_in("eve"))
    with pytest.raises(LedgerError, match="event 2 is not the one that was noted"):
        ledger.trail.verify(known)


def _write(url: str, name: str) -> None:
    with closing(Ledger(url)) as ledger:
        for _ in range(20):
            ledger.trail.record(events.logged_in(name))


def test_several_processes_add_to_one_chain(ledger: Ledger) -> None:
    url = ledger._engine.url.render_as_string(hide_password=False)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_write, args=(url, name)) for name in ("ann", "bob", "cat")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(50)
        assert process.exitcode == 0
    assert ledger.trail.verify().number == 60


def test_other_settings_at_a_start_are_an_event(ledger: Ledger) -> None:
    for settings in ("a", "a", "b"):
        ledger.trail.started("1.0", settings)
    assert [each for _, each, _ in kinds(ledger)] == [
        "Application Start",
        "Security Configuration",
        "Application Start",
        "Application Start",
        "Security Configuration",
    ]


def test_one_process_at_a_time_sends_and_another_goes_on_where_it_ended(
    ledger: Ledger, clock: Clock
) -> None:
    for name in ("ann", "bob", "cat"):
        ledger.trail.record(events.logged_in(name))
    trail = ledger.trail
    assert trail.waiting(TARGET) == 3
    assert trail.take_turn(TARGET, "one", 40.0) == 0
    assert trail.take_turn(TARGET, "two", 40.0) is None
    trail.forwarded(TARGET, "one", 2)
    clock.advance(40.0)
    assert trail.take_turn(TARGET, "two", 40.0) == 2
    # It comes back too late.
    trail.forwarded(TARGET, "one", 3)
    assert trail.waiting(TARGET) == 1


def test_what_is_read_can_be_limited(ledger: Ledger, clock: Clock) -> None:
    for name in ("ann", "bob", "cat"):
        ledger.trail.record(events.logged_in(name))
        clock.advance(10.0)

    def numbers(**limits: float) -> list[int]:
        read: Callable[..., object] = ledger.trail.read
        return [each.number for each in read(**limits)]

    assert numbers() == [1, 2, 3]
    assert numbers(after=1) == [2, 3]
    assert numbers(since=1_000_010.0) == [2, 3]
    assert numbers(limit=2) == [1, 2]


def test_a_trail_that_is_there_stays_when_it_is_opened_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'again.sqlite3'}"
    for _ in range(2):
        with closing(Ledger(url)) as ledger:
            ledger.trail.record(events.read(STUDY, "j1", "tiny", Outcome.SUCCESS, "Brain 1.0 mL"))
    with closing(Ledger(url)) as ledger:
        assert ledger.trail.verify().number == 2

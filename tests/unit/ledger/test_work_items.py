"""A work item is claimed once, by one of several processes, and is not forgotten."""

from __future__ import annotations

from conftest import Clock
from wetread.ledger import Ledger, WorkItemState


def test_an_item_is_begun_once(ledger: Ledger) -> None:
    book = ledger.work_items
    begun = book.begin("1.2.1", "2.25.1", "BRAIN^99HOSP", "1.2.3")
    assert begun is not None
    assert begun.state is WorkItemState.CLAIMING
    assert book.begin("1.2.1", "2.25.2", "BRAIN^99HOSP", "1.2.3") is None
    assert [each.transaction_uid for each in book.open()] == ["2.25.1"]


def test_an_item_that_has_ended_is_open_no_more_and_in_the_history(ledger: Ledger) -> None:
    book = ledger.work_items
    begun = book.begin("1.2.1", "2.25.1", "BRAIN^99HOSP", "1.2.3")
    assert begun is not None
    book.working(begun)
    book.fetched(begun)
    book.asked(begun, ("j1", "j2"))
    [now] = book.open()
    assert (now.state, now.fetched, now.job_ids) == (WorkItemState.WORKING, True, ("j1", "j2"))
    book.ended(now, WorkItemState.CANCELED, "no series")
    assert book.open() == ()
    said = [each.event for each in ledger.studies.history("1.2.3")]
    assert said[-1] == "work item 1.2.1: canceled: no series"


def test_one_process_has_the_turn_until_it_is_silent(ledger: Ledger, clock: Clock) -> None:
    book = ledger.work_items
    assert book.take_turn("a", 60)
    assert not book.take_turn("b", 60)
    clock.advance(30)
    assert book.take_turn("a", 60)
    clock.advance(59)
    assert not book.take_turn("b", 60)
    clock.advance(1)
    assert book.take_turn("b", 60)
    assert not book.take_turn("a", 60)

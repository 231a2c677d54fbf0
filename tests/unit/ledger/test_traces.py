"""Which traces wait for a collector, and from where on a new one follows the trail."""

from __future__ import annotations

from datetime import UTC, datetime

from conftest import Clock
from facts import STUDY, instance
from wetread.audit import events
from wetread.ledger import Ledger
from wetread.study import Completion


def test_a_generation_waits_from_its_decision_until_it_is_exported(ledger: Ledger) -> None:
    for generation in (1, 2):
        came = instance(generation)
        ledger.studies.record_instance(came, sha256=str(generation), size_bytes=1)
        assert ledger.traces.waiting(STUDY) == tuple(range(1, generation))
        complete = Completion("asked", 0.0, datetime.now(UTC))
        ledger.studies.mark_complete(STUDY, generation, complete)
        ledger.studies.record_decision(STUDY, generation, {}, [])
    assert ledger.traces.waiting(STUDY) == (1, 2)
    for _ in range(2):
        ledger.traces.exported(STUDY, 1)
        assert ledger.traces.waiting(STUDY) == (2,)
    assert ledger.traces.waiting("1.9") == ()


def test_a_new_target_begins_at_the_first_event_or_after_the_last(
    ledger: Ledger, clock: Clock
) -> None:
    for number in range(3):
        ledger.trail.record(events.logged_in(f"person{number}"))
    assert ledger.trail.take_turn("syslog", "one", 10.0) == 0
    assert ledger.trail.take_turn("traces", "one", 10.0, from_now=True) == 3
    ledger.trail.record(events.logged_in("person3"))
    assert ledger.trail.take_turn("traces", "two", 10.0, from_now=True) is None
    clock.advance(10.0)
    assert ledger.trail.take_turn("traces", "two", 10.0, from_now=True) == 3
    assert (ledger.trail.waiting("syslog"), ledger.trail.waiting("traces")) == (4, 1)

"""When is a study complete? Pure: the facts and the time come from the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from wetread.config import AssemblyConfig
from wetread.ledger import ArrivingStudy
from wetread.study import Completion


@dataclass(frozen=True, slots=True)
class Waiting:
    """A study is not complete yet; nothing changes before `until` unless an instance comes."""

    reason: str
    until: float


@dataclass(frozen=True, slots=True)
class Doors:
    """Who has an association just now, and since when every door has been open (since 1970)."""

    open_callers: frozenset[str] = frozenset()
    open_since: float = 0.0


def assess(
    study: ArrivingStudy,
    config: AssemblyConfig,
    open_callers: frozenset[str],
    now: float,
    *,
    listening_since: float = 0.0,
) -> Completion | Waiting:
    """Judge a study at the time `now` (seconds since 1970). It is complete

    1. when a person says so;
    2. `study_max_wait_seconds` after its first instance, come what may;
    3. when nothing has come for `study_quiet_seconds`;
    4. when none of its senders has an association open and every series has been quiet for
       `series_quiet_seconds`.

    Times before `listening_since`, when the doors opened, do not count: a sender that met closed
    doors tries again, and half a study must not be read meanwhile.

    A series that comes later starts a new generation, in which only what is new is read.
    """
    record = study.record
    times = config.for_caller(record.calling_ae_title)
    first = max(record.first_received_at, listening_since)
    last = max(record.last_received_at, listening_since)
    age, quiet = now - first, now - last
    if record.complete_requested:
        return _complete("asked for by a person", quiet, now)
    if age >= times.study_max_wait_seconds:
        return _complete(f"maximum wait of {times.study_max_wait_seconds:g} s", age, now)
    if quiet >= times.study_quiet_seconds:
        return _complete(f"study quiet for {times.study_quiet_seconds:g} s", quiet, now)
    until = min(first + times.study_max_wait_seconds, last + times.study_quiet_seconds)
    still_open = study.calling_ae_titles & open_callers
    if still_open:
        return Waiting(f"association of {', '.join(sorted(still_open))} is open", until)
    if quiet >= times.series_quiet_seconds:
        reason = f"every series quiet for {times.series_quiet_seconds:g} s, senders gone"
        return _complete(reason, quiet, now)
    soonest = min(until, last + times.series_quiet_seconds)
    return Waiting("instances came a moment ago", soonest)


def _complete(reason: str, waited_seconds: float, now: float) -> Completion:
    return Completion(reason, waited_seconds, datetime.fromtimestamp(now, UTC))

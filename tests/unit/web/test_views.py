"""The one word that says how a study fares, the worst first."""

from __future__ import annotations

import pytest

from wetread.ledger import DeliveryState, JobState, StudyRecord, StudyState
from wetread.ledger.overview import Progress
from wetread.web.rendering import TONES
from wetread.web.views import study_row

DONE, FAILED, QUEUED = {JobState.DONE: 1}, {JobState.FAILED: 1}, {JobState.QUEUED: 1}
SENT, DEAD, PENDING = (
    {state: 1} for state in (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.PENDING)
)


def record(state: StudyState) -> StudyRecord:
    return StudyRecord("1.2.3", 1, state, "CT1", 1.0, 2.0, False, 3.0, "quiet", 1.0, {}, None)


@pytest.mark.parametrize(
    ("progress", "word", "tone"),
    [
        (Progress(), "no model", None),
        (Progress(DONE, SENT), "delivered", "good"),
        (Progress(DONE), "read", "good"),
        (Progress(DONE, {**SENT, **PENDING}), "delivering", "busy"),
        (Progress({**DONE, **QUEUED}, SENT), "reading", "busy"),
        (Progress({**DONE, **QUEUED}, {**SENT, **DEAD}), "dead letter", "bad"),
        (Progress({**DONE, **FAILED}, {**SENT, **DEAD}), "failed", "bad"),
        (Progress({JobState.CANCELLED: 1}), "cancelled", None),
    ],
)
def test_a_study_that_is_routed_is_as_its_jobs_and_deliveries_are(progress, word, tone) -> None:
    assert study_row(record(StudyState.ROUTED), progress).progress == word
    assert TONES.get(word) == tone


@pytest.mark.parametrize("state", [StudyState.ARRIVING, StudyState.COMPLETE, StudyState.FAILED])
def test_one_that_is_not_is_as_it_is(state: StudyState) -> None:
    assert study_row(record(state), Progress(DONE, SENT)).progress == state

"""What hangs is left alone; what only takes long is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from wetread.errors import GeometryError, JobCancelledError, ReadingHangsError
from wetread.infer.base import Progress, no_progress
from wetread.watch import watched

HANG_SECONDS = 0.4


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_result_comes_back_with_what_was_told_on_the_way() -> None:
    told: list[tuple[str, float]] = []

    def read(progress: Progress) -> str:
        progress("forward", 0.5)
        return "found"

    assert watched(read, lambda *each: told.append(each), HANG_SECONDS) == "found"
    assert told == [("forward", 0.5)]


def test_an_error_comes_back_as_it_was_raised() -> None:
    error = GeometryError("gap of 10 mm", hint="send it again")

    def read(_progress: Progress) -> None:
        raise error

    with pytest.raises(GeometryError) as caught:
        watched(read, no_progress, HANG_SECONDS)
    assert caught.value is error


def test_whoever_shows_progress_may_take_long() -> None:
    def read(progress: Progress) -> str:
        for turn in range(8):
            time.sleep(HANG_SECONDS / 4)
            progress("forward", turn / 8)
        return "found"

    assert watched(read, no_progress, HANG_SECONDS) == "found"


def test_a_reading_that_hangs_is_named_by_its_step_and_ends_at_its_next_word(
    release: threading.Event,
) -> None:
    ended: list[JobCancelledError] = []

    def read(progress: Progress) -> None:
        progress("postprocess", 0.0)
        release.wait(30)
        try:
            progress("postprocess", 1.0)
        except JobCancelledError as error:
            ended.append(error)

    with pytest.raises(ReadingHangsError, match=r"no sign of life for 0\.4 s in step 'postproc"):
        watched(read, no_progress, HANG_SECONDS)
    release.set()
    deadline = time.monotonic() + 10
    while not ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended[0].stage == "postprocess"

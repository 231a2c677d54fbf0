"""A reading that shows no sign of life is given up, and others go on.

Nothing can end a thread from outside, so a reading runs in one that can be left alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from wetread.errors import JobCancelledError, ReadingHangsError
from wetread.infer.base import Progress

Result = TypeVar("Result")
_LOOK_SECONDS = 1.0


def watched(read: Callable[[Progress], Result], progress: Progress, hang_seconds: float) -> Result:
    """What `read` gives. It is handed a progress to tell, which goes on to `progress`.

    Raises what `read` raises, and ReadingHangsError if it tells nothing for `hang_seconds`; what it
    then still does, it does for nobody, and its next word ends it.
    """
    signs = _SignsOfLife(progress)
    future: Future[Result] = Future()
    threading.Thread(target=_run, args=(read, signs, future), name="reading", daemon=True).start()
    signs.watch(future, hang_seconds)
    return future.result()


def _run(read: Callable[[Progress], Result], progress: Progress, future: Future[Result]) -> None:
    try:
        future.set_result(read(progress))
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)


class _SignsOfLife:
    """A progress that knows when it was told something."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told = 0
        self._stage = "open"
        self._is_left_alone = False

    def __call__(self, stage: str, fraction: float) -> None:
        if self._is_left_alone:
            raise JobCancelledError(
                "this reading was given up", hint="it gave no sign of life", stage=stage
            )
        self._told += 1
        self._stage = stage
        self._progress(stage, fraction)

    def watch(self, future: Future[Result], hang_seconds: float) -> None:
        """Until there is a result. Raises ReadingHangsError."""
        silent, told = 0.0, self._told
        look_seconds = min(_LOOK_SECONDS, hang_seconds / 4)
        while silent < hang_seconds:
            before = time.monotonic()
            if wait([future], look_seconds).done:
                return
            # A machine that stood still for a while is no reading that hangs.
            silent += min(time.monotonic() - before, 2 * look_seconds)
            if told != self._told:
                silent, told = 0.0, self._told
        self._is_left_alone = True
        raise ReadingHangsError(
            f"no sign of life for {hang_seconds:g} s in step {self._stage!r}",
            hint="try the bundle by itself: wetread models check; what still hangs is gone when "
            "wetread starts again",
            stage=self._stage,
        )

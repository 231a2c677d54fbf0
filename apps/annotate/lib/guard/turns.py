"""One at a time, a few in line, and the rest told to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lib.guard.refusals import BusyError

WAIT_SECONDS = 300.0


class Turns:
    """At most `most` have or await their turn."""

    def __init__(self, most: int, seconds: float = WAIT_SECONDS) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._turn = threading.Lock()
        self._most = most
        self._seconds = seconds

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises BusyError if the line is full, or if it does not move."""
        if not self._places.acquire(blocking=False):
            raise BusyError(
                f"{self._most} inferences run or wait", hint="try again", retry_seconds=10
            )
        try:
            if not self._turn.acquire(timeout=self._seconds):
                raise BusyError(
                    f"an inference takes longer than {self._seconds:g} s",
                    hint="see the log",
                    retry_seconds=60,
                )
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._places.release()

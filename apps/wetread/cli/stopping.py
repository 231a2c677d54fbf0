"""Commands that go on until they are told to stop, by SIGINT, SIGTERM or SIGHUP."""

from __future__ import annotations

import signal
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wetread.infer.base import Progress

LOOK_SECONDS = 1.0


class Stopping:
    """Whether the command was told to stop.

    A signal is handled in the main thread, wherever that is: within `Event.wait` an `Event.set`
    would wait for itself. A simple queue may be filled at any time.
    """

    def __init__(self) -> None:
        self._is_told = False
        self._told: SimpleQueue[None] = SimpleQueue()

    def tell(self, *_: object) -> None:
        """As a signal does."""
        self._is_told = True
        self._told.put(None)

    def is_set(self) -> bool:
        """Whether it was told."""
        return self._is_told

    def wait(self, seconds: float) -> bool:
        """Whether it is told within that time."""
        if not self._is_told:
            try:
                self._told.get(timeout=seconds)
            except Empty:
                return self._is_told
        return True


def told_to_stop() -> Stopping:
    """Set once the command is told to stop. SIGHUP stays ignored where it was (nohup)."""
    stopping = Stopping()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stopping.tell)
    return stopping


def wait_until(stopping: Stopping, look: Callable[[], object] = lambda: None) -> None:
    """Until the command is told to stop; `look` is called every second.

    A wait without end would miss a signal that comes just before it begins, or that the system
    gives to another thread: Python sees to signals only between two steps of the main thread.
    """
    while not stopping.wait(LOOK_SECONDS):
        look()


def until(stopping: Stopping, progress: Progress) -> Progress:
    """The same progress, which ends the command once it is told to stop."""

    def watched(stage: str, fraction: float) -> None:
        if stopping.is_set():
            raise typer.Exit
        progress(stage, fraction)

    return watched

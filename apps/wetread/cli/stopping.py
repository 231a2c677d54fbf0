"""Commands that go on until they are told to stop, by SIGINT, SIGTERM or SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wetread.infer.base import Progress

LOOK_SECONDS = 1.0


def told_to_stop() -> threading.Event:
    """Set once the command is told to stop. SIGHUP stays ignored where it was (nohup)."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stopping.set())
    return stopping


def wait_until(stopping: threading.Event, look: Callable[[], object] = lambda: None) -> None:
    """Until the command is told to stop; `look` is called every second.

    A wait without end would miss a signal that comes just before it begins, or that the system
    gives to another thread: Python sees to signals only between two steps of the main thread.
    """
    while not stopping.wait(LOOK_SECONDS):
        look()


def until(stopping: threading.Event, progress: Progress) -> Progress:
    """The same progress, which ends the command once it is told to stop."""

    def watched(stage: str, fraction: float) -> None:
        if stopping.is_set():
            raise typer.Exit
        progress(stage, fraction)

    return watched

"""Work in a thread of its own, which goes on until it is told to stop."""

from __future__ import annotations

import threading


class Background:
    """What works in `_run` until `_stopping` is set; `start` and `stop` are the same for all."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, wait_seconds: float) -> None:
        """End after what is under way, and wait for that at most so long."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(wait_seconds)

    def _run(self) -> None:
        raise NotImplementedError

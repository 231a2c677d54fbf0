"""Where the thread of an association stands still while another one sends."""

from __future__ import annotations

import threading

from pynetdicom.association import Association


class Checkpoint(threading.Event):
    """In the place of pynetdicom's own, which lets an answer get lost now and then.

    pynetdicom 3.0 has whoever sends wait until the association's thread says that it stands still,
    and the thread says so a moment before it does. If it then goes on for one more round, it takes
    the answer, and the sender waits for it until the time-out. With this one the sender waits
    until the thread stands here.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._thread = association
        self._turn = threading.Condition()
        self._stands = False
        self.set()

    def set(self) -> None:
        """Let the thread go on."""
        with self._turn:
            super().set()
            self._turn.notify_all()

    def clear(self) -> None:
        """Have the thread stand still, and return once it does or has ended."""
        with self._turn:
            super().clear()
            if threading.current_thread() is self._thread:
                return
            while not self._stands and self._thread.is_alive():
                self._turn.wait(0.05)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Stand here until `set`."""
        with self._turn:
            self._stands = True
            self._turn.notify_all()
            goes_on = self._turn.wait_for(self.is_set, timeout_seconds)
            self._stands = False
            return goes_on

"""Which image was offered to whom of late, so that two readers do not draw the same one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

HOLD_SECONDS = 1800.0


class Offers:
    """Kept for half an hour; nothing is locked: a label is taken from anybody."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._offered: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def keep(self, image_id: str, user: str) -> None:
        """It is with that user from now on."""
        with self._lock:
            self._offered[image_id] = (user, self._clock())

    def first_for(self, user: str, images: Sequence[str]) -> list[str]:
        """Without those that are with somebody else, unless all are."""
        with self._lock:
            since = self._clock() - HOLD_SECONDS
            self._offered = {
                image: (who, when) for image, (who, when) in self._offered.items() if when > since
            }
            free = [each for each in images if self._offered.get(each, (user, 0.0))[0] == user]
        return free or list(images)

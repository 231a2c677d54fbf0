"""Failed attempts to log in, counted by name and by address, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from lib.guard.refusals import TooManyError

SECONDS = 300.0
OF_A_NAME, OF_AN_ADDRESS = 10, 30
MOST_KEYS = 10_000


@dataclass
class _Count:
    failures: int
    ends_at: float


class Attempts:
    """After `limit` failures a key is refused until `seconds` after the first of them.

    Of more than `most` keys, those that failed longest ago are forgotten.
    """

    def __init__(
        self,
        limit: int,
        seconds: float = SECONDS,
        most: int = MOST_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises TooManyError while the key is refused."""
        count = self._current(key)
        if count is not None and count.failures >= self._limit:
            left = count.ends_at - self._clock()
            raise TooManyError(
                f"too many failed attempts: {count.failures}",
                hint=f"wait {left:.0f} s",
                retry_seconds=left,
            )

    def failed(self, key: str) -> None:
        """Count one."""
        count = self._current(key) or _Count(0, self._clock() + self._seconds)
        count.failures += 1
        self._counts[key] = count
        self._counts.move_to_end(key)
        while len(self._counts) > self._most:
            self._counts.popitem(last=False)

    def forget(self, key: str) -> None:
        """It succeeded."""
        self._counts.pop(key, None)

    def _current(self, key: str) -> _Count | None:
        count = self._counts.get(key)
        if count is not None and count.ends_at <= self._clock():
            del self._counts[key]
            return None
        return count

"""When to try a delivery again. Pure: time and chance come from the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wetread.errors import WetreadError


class RetrySettings(Protocol):
    """The part of a destination's configuration that says how often and how long to try."""

    @property
    def max_attempts(self) -> int:
        """Tries in all."""
        ...

    @property
    def first_retry_seconds(self) -> float:
        """The shortest wait."""
        ...

    @property
    def max_retry_seconds(self) -> float:
        """The longest wait."""
        ...


def next_try_seconds(
    config: RetrySettings, attempt: int, error: WetreadError, jitter: Callable[[], float]
) -> float | None:
    """Seconds until the next try after try number `attempt` (from 1) failed with `error`.

    The ceiling doubles with each try, from twice `first_retry_seconds` up to `max_retry_seconds`;
    the wait is drawn between `first_retry_seconds` and that ceiling, so that many objects that
    failed together do not come back together. `jitter` gives a number from 0 to 1.

    None means never: the error is not retryable, or `max_attempts` tries were made.
    """
    if not error.retryable or attempt >= config.max_attempts:
        return None
    floor = min(config.first_retry_seconds, config.max_retry_seconds)
    # 2 ** 60 is beyond any ceiling; without the limit the number grows with the attempts.
    ceiling = min(config.max_retry_seconds, floor * 2.0 ** min(attempt, 60))
    return floor + (ceiling - floor) * jitter()

"""Those who were not let in, as security alerts: one a minute for an address, with how many more.

Whoever knocks without end must not fill the audit trail.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from wetread.audit.events import Message, refused
from wetread.errors import LedgerError

log = structlog.get_logger()

QUIET_SECONDS = 60.0
_MOST_ADDRESSES = 1000


class Alerts:
    """Counts refusals by address, and records them."""

    def __init__(
        self, record: Callable[[Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._record, self._clock = record, clock
        self._lock = threading.Lock()
        # By address, the oldest first: when one was recorded, and how many have come since.
        self._seen: dict[str, tuple[float, int]] = {}

    def refused(self, name: str, address: str, why: str) -> None:
        """Note that somebody was refused. The caller has been told; it stays so in any case."""
        now = self._clock()
        with self._lock:
            at, more = self._seen.pop(address, (now - QUIET_SECONDS, 0))
            is_due = now - at >= QUIET_SECONDS
            self._seen[address] = (now, 0) if is_due else (at, more + 1)
            if len(self._seen) > _MOST_ADDRESSES:
                del self._seen[next(iter(self._seen))]
        if not is_due:
            return
        told = f"{why}; {more} more since the last alert for this address" if more else why
        try:
            self._record(refused(name or "unknown", address, told))
        except LedgerError as error:
            # It was refused all the same; what is lost is that somebody hears of it.
            log.error("a refusal is not in the audit trail", address=address, reason=str(error))

"""Hands the audit trail on to somebody, in order and with nothing left out.

What the target has got stands in the ledger. While it is away the events wait; one that it may have
got is handed over again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from wetread import metrics
from wetread.background import Background
from wetread.errors import DestinationUnavailableError, LedgerError, WetreadError, codes_for
from wetread.ledger import AuditRecord, Trail

log = structlog.get_logger()

_BATCH = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it looks, how long an answer may take, when it tries again; in seconds."""

    look_seconds: float
    timeout_seconds: float
    retry_seconds: float


class TrailFollower(Background):
    """A thread that hands over what is there and what comes; of several processes one at a time.

    `stage` is the label of its failures, `target` the name under which the ledger keeps how far it
    is. With `from_now` a new target gets only what happens from its first start on.
    """

    def __init__(
        self, stage: str, trail: Trail, target: str, pace: Pace, *, from_now: bool = False
    ) -> None:
        super().__init__(stage)
        self._stage, self._trail, self._target, self._pace = stage, trail, target, pace
        self._from_now = from_now
        self._owner = f"{socket.gethostname()} {os.getpid()}"

    def _hand_over(self, records: Sequence[AuditRecord]) -> None:
        """Raises DestinationUnavailableError or LedgerError; it is done again later."""
        raise NotImplementedError

    def _waiting(self) -> int:
        return self._trail.waiting(self._target)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            # One more batch after it was told to stop: the stop itself is an event.
            stopping = self._stopping.is_set()
            try:
                while self._hand_some_over() and not self._stopping.is_set():
                    pass
            except (DestinationUnavailableError, LedgerError) as error:
                self._failed(error)
                self._stopping.wait(self._pace.retry_seconds)
            else:
                self._stopping.wait(self._pace.look_seconds)

    def _hand_some_over(self) -> bool:
        """Whether there may be more."""
        if not self._waiting():
            return False
        # To connect, to send and to close may take this long each, and then some.
        seconds = 4 * self._pace.timeout_seconds
        after = self._trail.take_turn(self._target, self._owner, seconds, from_now=self._from_now)
        if after is None:
            return False
        records = list(self._trail.read(after=after, limit=_BATCH))
        if not records:
            return False
        self._hand_over(records)
        self._trail.forwarded(self._target, self._owner, records[-1].number)
        return True

    def _failed(self, error: WetreadError) -> None:
        metrics.FAILURES.labels(self._stage, codes_for(error).label).inc()
        log.error("events wait", stage=self._stage, reason=error.message, hint=error.hint)

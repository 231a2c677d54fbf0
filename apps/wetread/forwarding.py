"""Forwards the audit trail to a syslog server while a gateway runs: in order, nothing left out.

What the server has got stands in the ledger. While it is away the events are kept and sent later;
one that it may have got is sent again, with the same time and the same content.
"""

from __future__ import annotations

import os
import socket

import structlog

from wetread import metrics
from wetread.audit.message import to_syslog
from wetread.background import Background
from wetread.config import AuditConfig
from wetread.deliver.syslog import SyslogServer
from wetread.errors import DestinationUnavailableError, LedgerError, WetreadError, codes_for
from wetread.ledger import AuditRecord, Trail

log = structlog.get_logger()

LOOK_SECONDS = 0.5
_BATCH = 100


class Forwarder(Background):
    """A thread that sends; none where no server is named. Raises ConfigError."""

    def __init__(self, config: AuditConfig, trail: Trail) -> None:
        super().__init__("audit")
        self._config, self._trail = config, trail
        self._server = SyslogServer(config) if config.syslog else None
        self._owner = f"{socket.gethostname()} {os.getpid()}"

    def start(self) -> None:
        """Begin to send what is there and what comes."""
        if self._server is not None:
            super().start()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            # Once more after it was told to stop: the stop itself is an event.
            stopping = self._stopping.is_set()
            try:
                while self._send_some():
                    pass
            except (DestinationUnavailableError, LedgerError) as error:
                self._failed(error)
                self._stopping.wait(self._config.retry_seconds)
            else:
                self._stopping.wait(LOOK_SECONDS)

    def _send_some(self) -> bool:
        """Whether there may be more."""
        target, server = self._config.syslog, self._server
        waiting = self._trail.waiting(target)
        metrics.AUDIT_WAITING.set(waiting)
        if not waiting or server is None:
            return False
        # To connect, to send and to close may take this long each, and then some.
        after = self._trail.take_turn(target, self._owner, 4 * self._config.timeout_seconds)
        if after is None:
            return False
        records = list(self._trail.read(after=after, limit=_BATCH))
        if not records:
            return False
        server.send([_as_syslog(each) for each in records])
        self._trail.forwarded(target, self._owner, records[-1].number)
        return True

    def _failed(self, error: WetreadError) -> None:
        metrics.FAILURES.labels("audit", codes_for(error).label).inc()
        log.error("audit events wait", reason=str(error), hint=error.hint)


def _as_syslog(record: AuditRecord) -> bytes:
    content = record.content
    source, _, host = content["AuditSourceIdentification"]["AuditSourceID"].rpartition("@")
    time = content["EventIdentification"]["EventDateTime"]
    return to_syslog(content, time=time, host=host or source, process=str(os.getpid()))

"""Forwards the audit trail to a syslog server while a gateway runs.

What is sent again has the same time and the same content.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from wetread import metrics
from wetread.audit.message import to_syslog
from wetread.config import AuditConfig
from wetread.deliver.syslog import SyslogServer
from wetread.following import Pace, TrailFollower
from wetread.ledger import AuditRecord, Trail

LOOK_SECONDS = 0.5


class Forwarder(TrailFollower):
    """A thread that sends; none where no server is named. Raises ConfigError."""

    def __init__(self, config: AuditConfig, trail: Trail) -> None:
        pace = Pace(LOOK_SECONDS, config.timeout_seconds, config.retry_seconds)
        super().__init__("audit", trail, config.syslog, pace)
        self._server = SyslogServer(config) if config.syslog else None

    def start(self) -> None:
        """Begin to send what is there and what comes."""
        if self._server is not None:
            super().start()

    def _waiting(self) -> int:
        waiting = super()._waiting()
        metrics.AUDIT_WAITING.set(waiting)
        return waiting

    def _hand_over(self, records: Sequence[AuditRecord]) -> None:
        if self._server is not None:
            self._server.send([_as_syslog(each) for each in records])


def _as_syslog(record: AuditRecord) -> bytes:
    content = record.content
    source, _, host = content["AuditSourceIdentification"]["AuditSourceID"].rpartition("@")
    time = content["EventIdentification"]["EventDateTime"]
    return to_syslog(content, time=time, host=host or source, process=str(os.getpid()))

"""Exports a trace of each generation of a study once nothing more happens to it by itself.

Every step of a study is an event of the audit trail, so the trail says which studies to look at.
How far it was followed and which traces are out stands in the ledger; while the collector is away
they wait. One that it may have got is sent again, with the same ids.
"""

from __future__ import annotations

import os
import socket

import structlog

from wetread import metrics
from wetread.background import Background
from wetread.config import TracesConfig
from wetread.errors import DestinationUnavailableError, LedgerError, WetreadError, codes_for
from wetread.ledger import AuditRecord, Ledger
from wetread.traces.collector import Collector
from wetread.traces.spans import Story, spans_of, story_of

log = structlog.get_logger()

LOOK_SECONDS = 1.0
_BATCH = 100


class TraceExporter(Background):
    """A thread that exports; none where no collector is named. Raises ConfigError."""

    def __init__(self, config: TracesConfig, ledger: Ledger) -> None:
        super().__init__("traces")
        self._config, self._ledger = config, ledger
        self._collector = Collector(config) if config.endpoint else None
        # Beside the syslog servers that follow the same trail.
        self._target = f"traces {config.endpoint}"
        self._owner = f"{socket.gethostname()} {os.getpid()}"

    def start(self) -> None:
        """Begin with what happens from the first start with this collector on."""
        if self._collector is not None:
            super().start()

    def stop(self, wait_seconds: float) -> None:
        """End, and give the connection back."""
        super().stop(wait_seconds)
        if self._collector is not None:
            self._collector.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and self._export_some():
                    pass
            except (DestinationUnavailableError, LedgerError) as error:
                self._failed(error)
                self._stopping.wait(self._config.retry_seconds)
            else:
                self._stopping.wait(LOOK_SECONDS)

    def _export_some(self) -> bool:
        """Whether there may be more."""
        trail, target = self._ledger.trail, self._target
        if not trail.waiting(target):
            return False
        seconds = 4 * self._config.timeout_seconds
        after = trail.take_turn(target, self._owner, seconds, from_now=True)
        if after is None:
            return False
        records = list(trail.read(after=after, limit=_BATCH))
        if not records:
            return False
        self._send(self._settled(records))
        trail.forwarded(target, self._owner, records[-1].number)
        return True

    def _settled(self, records: list[AuditRecord]) -> list[Story]:
        studies = dict.fromkeys(each.study_instance_uid for each in records)
        stories = (
            story_of(self._ledger, study, generation)
            for study in studies
            for generation in self._ledger.traces.waiting(study)
        )
        # Whatever settles another one later is an event of its own.
        return [each for each in stories if each.is_settled]

    def _send(self, stories: list[Story]) -> None:
        if not stories or self._collector is None:
            return
        device_uid = self._ledger.device_uid()
        spans = [span for story in stories for span in spans_of(story, device_uid)]
        unwanted = self._collector.send(spans)
        if unwanted:
            metrics.FAILURES.labels("traces", "delivery").inc(unwanted)
            log.error("the collector did not want some spans", spans=unwanted)
        for each in stories:
            study = each.study
            self._ledger.traces.exported(study.study_instance_uid, study.generation)

    def _failed(self, error: WetreadError) -> None:
        metrics.FAILURES.labels("traces", codes_for(error).label).inc()
        log.error("traces wait", reason=str(error), hint=error.hint)

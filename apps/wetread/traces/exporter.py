"""Exports a trace of each generation of a study once nothing more happens to it by itself.

Every step of a study is an event of the audit trail, so the trail says which studies to look at.
Which traces are out stands in the ledger; one that is exported again has the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from wetread import metrics
from wetread.config import TracesConfig
from wetread.following import Pace, TrailFollower
from wetread.ledger import AuditRecord, Ledger
from wetread.traces.collector import Collector
from wetread.traces.spans import Story, spans_of, story_of

log = structlog.get_logger()

LOOK_SECONDS = 1.0


class TraceExporter(TrailFollower):
    """A thread that exports; none where no collector is named. Raises ConfigError.

    It begins with what happens from the first start with this collector on.
    """

    def __init__(self, config: TracesConfig, ledger: Ledger) -> None:
        pace = Pace(LOOK_SECONDS, config.timeout_seconds, config.retry_seconds)
        # Beside the syslog servers that follow the same trail.
        target = f"traces {config.endpoint}"
        super().__init__("traces", ledger.trail, target, pace, from_now=True)
        self._ledger = ledger
        self._collector = Collector(config) if config.endpoint else None

    def start(self) -> None:
        """Begin to export what comes."""
        if self._collector is not None:
            super().start()

    def stop(self, wait_seconds: float) -> None:
        """End, and give the connection back."""
        super().stop(wait_seconds)
        if self._collector is not None:
            self._collector.close()

    def _hand_over(self, records: Sequence[AuditRecord]) -> None:
        studies = dict.fromkeys(each.study_instance_uid for each in records)
        stories = (
            story_of(self._ledger, study, generation)
            for study in studies
            for generation in self._ledger.traces.waiting(study)
        )
        # Whatever settles another one later is an event of its own.
        self._send([each for each in stories if each.is_settled])

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

"""Collecting again and again, beside a running gateway."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path

import structlog

from wetread import metrics
from wetread.background import Background
from wetread.config import LabelConfig
from wetread.corrections.archive import Archive
from wetread.corrections.collect import Collected, collect
from wetread.errors import WetreadError, codes_for
from wetread.results import ModelIdentity

log = structlog.get_logger()

FOLDER = "corrections"


def collect_once(config: LabelConfig, bundles: Sequence[Path]) -> list[Collected]:
    """From the archive that `label.studies` names to `corrections` in `label.folder`.

    Raises DestinationUnavailableError if it does not answer.
    """
    with closing(Archive(config.studies)) as archive:
        return collect(archive, bundles, config.folder / FOLDER)


class Collector(Background):
    """A thread that collects every `label.collect_seconds`; none for 0, or without an archive.

    What cannot be used is logged once, an archive that does not answer each time. Metrics call
    those of `models` by their name; an archive may hold what other gateways proposed.
    """

    def __init__(
        self, config: LabelConfig, bundles: Sequence[Path], models: Collection[str] = ()
    ) -> None:
        super().__init__("collector")
        self._config = config
        self._models = frozenset(models)
        self._bundles = tuple(bundles)
        self._told: set[str] = set()

    def start(self) -> None:
        """Begin, at once, where there is an archive to collect from."""
        if self._config.collect_seconds and self._config.studies.startswith(
            ("http://", "https://")
        ):
            super().start()

    def _run(self) -> None:
        while True:
            try:
                self._tell(collect_once(self._config, self._bundles))
            except WetreadError as error:
                metrics.FAILURES.labels("collect", codes_for(error).label).inc()
                log.error("corrections cannot be collected", reason=str(error), hint=error.hint)
            if self._stopping.wait(self._config.collect_seconds):
                return

    def _tell(self, found: Sequence[Collected]) -> None:
        for each in found:
            if each.case_id:
                log.info("correction collected", bundle=each.bundle, case_id=each.case_id)
                self._count(each.from_model)
            elif each.sop_instance_uid not in self._told:
                self._told.add(each.sop_instance_uid)
                metrics.FAILURES.labels("collect", "input").inc()
                log.error("a correction cannot be used", bundle=each.bundle, reason=each.reason)

    def _count(self, proposed_by: ModelIdentity | None) -> None:
        if proposed_by is not None and proposed_by.name in self._models:
            metrics.CORRECTIONS.labels(proposed_by.name, proposed_by.version).inc()

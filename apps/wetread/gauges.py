"""What stands still between events is looked at now and then: queues, backlogs, disk, models.

In a thread of its own, so that a ledger with much in it holds up no work.
"""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Gauge

from wetread import __version__, metrics
from wetread.background import Background
from wetread.config import Config, TritonModel
from wetread.errors import ERROR_CODES, ConfigError, LedgerError, StorageError, codes_for
from wetread.health import OUTCOMES
from wetread.infer.shelf import ModelShelf
from wetread.ledger import Ledger
from wetread.receive.callers import named_callers
from wetread.receive.spool import Spool
from wetread.receive.stow import STOW_CALLER
from wetread.receive.upper_layer import REJECTIONS

if TYPE_CHECKING:
    from wetread.infer.triton import TritonServers

log = structlog.get_logger()

Values = Mapping[tuple[str, ...], float]

LOOK_SECONDS = 5.0
# For what looks at a whole table, or asks another machine.
SLOW_LOOK_SECONDS = 60.0
_WEIGHTS_DIGITS = 12
# Stages that work beside the readings; each has an alert for its first error.
STAGES_BESIDE = (
    *("route", "retain", "switch", "commit", "collect"),
    *("worklist", "share", "shadow", "traces"),
)
# Why an instance is refused most often.
_REFUSALS = {"missing_attribute", "unsupported_series", "input", "storage", "ledger", "unexpected"}


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at; `open_associations` is asked, too."""

    config: Config
    ledger: Ledger
    spool: Spool
    models: ModelShelf
    open_associations: Callable[[], int]


class Gauges(Background):
    """Sets every gauge, again and again, from `start` to `stop`."""

    def __init__(self, watched: Watched, clock: Callable[[], float] = time.time) -> None:
        super().__init__("gauges")
        self._watched = watched
        self._clock = clock
        self._tables: dict[Gauge, _Table] = {}
        models = watched.config.models.values()
        self._triton = [each for each in models if isinstance(each, TritonModel)]
        self._servers: dict[TritonModel, TritonServers] = {}

    def start(self) -> None:
        """Begin, at once."""
        metrics.BUILD.labels(__version__, platform.python_version()).set(1)
        metrics.SPOOL_MIN_FREE_BYTES.set(self._watched.config.spool.min_free_bytes)
        _announce(self._watched.config)
        super().start()

    def stop(self, wait_seconds: float) -> None:
        """End after the look that is under way."""
        super().stop(wait_seconds)
        for each in self._servers.values():
            each.close()

    def _run(self) -> None:
        self._try(self._seed)
        next_slow = 0.0
        while True:
            self._look()
            self._try(self._look_at_ledger)
            if time.monotonic() >= next_slow:
                self._try(self._look_at_whole_tables)
                next_slow = time.monotonic() + SLOW_LOOK_SECONDS
            if self._stopping.wait(LOOK_SECONDS):
                return

    def _try(self, look: Callable[[], None]) -> None:
        try:
            look()
            metrics.LEDGER_UP.set(1)
        except LedgerError as error:
            metrics.LEDGER_UP.set(0)
            metrics.FAILURES.labels("watch", codes_for(error).label).inc()
            log.error("the ledger does not answer", reason=str(error))

    def _seed(self) -> None:
        """What an earlier process delivered; from now on the pipeline tells."""
        for name, at in self._watched.ledger.figures.delivered_at().items():
            metrics.DELIVERED_AT.labels(name).set(at)

    def _look(self) -> None:
        metrics.ASSOCIATIONS.set(self._watched.open_associations())
        if self._watched.config.workers.jobs:
            self._look_at_models()
            self._show(metrics.TRITON_UP, self._ready())
        try:
            self._watched.spool.check_room(0)
        except StorageError:
            # Whoever wants to write is told; here only the figure counts.
            return

    def _look_at_models(self) -> None:
        identities = self._watched.models.identities()
        is_open: Values = {(name,): float(each is not None) for name, each in identities.items()}
        self._show(metrics.MODEL_OPEN, is_open)
        self._show(
            metrics.MODEL,
            {
                (each.name, each.version, each.weights_sha256[:_WEIGHTS_DIGITS]): 1
                for each in identities.values()
                if each is not None
            },
        )

    def _ready(self) -> Values:
        found: dict[str, bool] = {}
        for model in self._triton:
            try:
                if model not in self._servers:
                    # tritonclient is for those who use it.
                    from wetread.infer.triton import TritonServers

                    self._servers[model] = TritonServers(model)
                found |= self._servers[model].ready()
            except ConfigError:
                # The model cannot be opened either, and says why.
                found |= dict.fromkeys(model.triton_url, False)
        return {(url,): float(is_ready) for url, is_ready in found.items()}

    def _look_at_ledger(self) -> None:
        ledger, now = self._watched.ledger, self._clock()
        metrics.STUDIES_WAITING.set(ledger.figures.studies_arriving())
        self._show(metrics.JOBS, {(str(k),): n for k, n in ledger.jobs.counts().items()})
        queues = ledger.figures.queues()
        self._show(metrics.QUEUE_TASKS, {(kind,): each.tasks for kind, each in queues.items()})
        self._show(
            metrics.QUEUE_OLDEST_SECONDS,
            {(kind,): _age(each.oldest_at, now) for kind, each in queues.items()},
        )
        self._look_at_destinations(ledger, now)
        leases: Values = {(each.name,): each.expires_at for each in ledger.workers.alive()}
        self._show(metrics.WORKER_LEASE_END, leases)

    def _look_at_destinations(self, ledger: Ledger, now: float) -> None:
        backlogs, dead = ledger.figures.backlogs(), ledger.figures.dead_letters()
        nothing = dict.fromkeys(self._watched.config.destinations, 0.0)
        for metric, found in (
            (metrics.DELIVERIES_WAITING, {name: each.waiting for name, each in backlogs.items()}),
            (metrics.DELIVERIES_FAILING, {name: each.failing for name, each in backlogs.items()}),
            (
                metrics.DELIVERY_OLDEST_SECONDS,
                {name: _age(each.oldest_at, now) for name, each in backlogs.items()},
            ),
            (metrics.DEAD_LETTERS, dead),
        ):
            both = {**nothing, **found}
            self._show(metric, {(name,): n for name, n in both.items()})

    def _look_at_whole_tables(self) -> None:
        ledger = self._watched.ledger
        metrics.SPOOL_IMAGE_BYTES.set(ledger.removals.image_bytes())
        metrics.COMMITMENT_REQUESTS.set(ledger.figures.requests_waiting())
        found = ledger.figures.commitments_open()
        self._show(metrics.COMMITMENTS_OPEN, {(name,): n for name, n in found.items()})

    def _show(self, metric: Gauge, values: Values) -> None:
        self._tables.setdefault(metric, _Table(metric)).show(values)


def _announce(config: Config) -> None:
    """Begin counters with 0: Prometheus sees no increase in one whose first value is 1."""
    errors = {each.label for each in ERROR_CODES.values()} | {codes_for(Exception()).label}
    for stage, error in itertools.product(STAGES_BESIDE, errors):
        metrics.FAILURES.labels(stage, error)
    callers = named_callers(config) | {metrics.OTHER, STOW_CALLER}
    for caller, error in itertools.product(callers, sorted(_REFUSALS)):
        metrics.INSTANCES_REFUSED.labels(caller, error)
    for reason in REJECTIONS:
        metrics.ASSOCIATIONS_REJECTED.labels(reason)
    for model, outcome in itertools.product(config.models, OUTCOMES):
        metrics.READINGS.labels(model, outcome)
    for name, outcome in itertools.product(config.destinations, ("delivered", "failed", "dead")):
        metrics.DELIVERIES.labels(name, outcome)


class _Table:
    """A gauge with labels: what is no longer so is no longer shown."""

    def __init__(self, metric: Gauge) -> None:
        self._metric = metric
        self._shown: set[tuple[str, ...]] = set()

    def show(self, values: Values) -> None:
        for labels, value in values.items():
            self._metric.labels(*labels).set(value)
        for gone in self._shown - values.keys():
            self._metric.remove(*gone)
        self._shown = set(values)


def _age(since: float | None, now: float) -> float:
    return 0.0 if since is None else max(0.0, now - since)

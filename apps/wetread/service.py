"""Builds everything from a Config, starts it in order and stops it in the reverse order."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import start_http_server

from wetread import __version__, metrics
from wetread.access.browsers import Browsers
from wetread.audit import events as audit
from wetread.audit.alerts import Alerts
from wetread.commitment import Commitment
from wetread.config import Config, MetricsConfig, StowConfig
from wetread.corrections.collector import Collector
from wetread.deliver.registry import open_destination
from wetread.durable import Durable
from wetread.errors import ConfigError, LedgerError, WetreadError, codes_for
from wetread.forwarding import Forwarder
from wetread.gauges import Gauges, Watched
from wetread.httpd import HttpServer
from wetread.infer.shelf import ModelShelf
from wetread.lease import Lease
from wetread.ledger import Ledger, ledger_url
from wetread.models.shadow import Shadows
from wetread.models.switch import servers_of, settle
from wetread.pipeline import Pipeline, Rooms
from wetread.receive.assembly import Doors
from wetread.receive.callers import Refused, named_callers
from wetread.receive.listener import Listener
from wetread.receive.retention import Retention, RetentionThread
from wetread.receive.spool import Spool, SpooledFile
from wetread.receive.stow import StowDoor
from wetread.receive.watch_folder import WatchFolder
from wetread.study import ReceivedInstance
from wetread.traces.exporter import TraceExporter
from wetread.viewer.server import viewer_server
from wetread.worklist.performer import Performer

log = structlog.get_logger()

TICK_SECONDS = 0.25
REFRESH_SECONDS = 1.0
# After the ledger did not answer.
LEDGER_SECONDS = 5.0
STOP_SECONDS = 20.0


class Service:
    """A running gateway: doors, ledger, pipeline. Use it as a context manager.

    Without `doors` it is a worker: nothing can be sent to it, and nobody asks it anything.
    """

    def __init__(
        self, config: Config, clock: Callable[[], float] = time.time, *, doors: bool = True
    ) -> None:
        """Open the ledger, the spool and the destinations; nothing listens yet.

        Raises ConfigError, LedgerError or StorageError.
        """
        if not (doors or config.database.is_shared):
            raise ConfigError(
                "a worker without doors needs a PostgreSQL [database] url",
                hint="on SQLite one `wetread serve` does everything",
            )
        self.config = config
        self._clock = clock
        self._has_doors = doors
        is_shared = config.database.is_shared
        self.spool = Spool.of(config, in_use=is_shared)
        self.ledger = Ledger(ledger_url(config), clock, reporter=config.listener.ae_title)
        self._forwarder = Forwarder(config.audit, self.ledger.trail)
        self._traces = TraceExporter(config.traces, self.ledger)
        self._lease = Lease(config, self.ledger.workers, has_doors=doors) if is_shared else None
        self.models = ModelShelf(config.models, config.model_repository)
        destinations = {
            name: open_destination(name, to, config.deidentify)
            for name, to in config.destinations.items()
        }
        self._make_doors(config)
        self._shadows = Shadows(config, clock)
        rooms = Rooms(
            config,
            self.ledger,
            self.spool,
            self.models,
            destinations,
            self._doors if doors else None,
            self._shadows.offer,
        )
        self.pipeline = Pipeline(rooms)
        self._durable = Durable(self.pipeline, config, self._lease)
        bundles = {model.bundle for model in config.models.values()}
        self._collector = Collector(config.label, sorted(bundles), config.models)
        retention = Retention(config, self.ledger, self.spool, self.listener.open_studies, clock)
        self._retention = RetentionThread(retention, config.retention)
        watched = Watched(
            config, self.ledger, self.spool, self.models, self.listener.open_associations
        )
        self._metrics = _MetricsServer(config.metrics, Gauges(watched, clock))
        self._was_started = False
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick_until_stopped, name="ticker")
        self._opener = threading.Thread(target=self._open_models, name="models")

    def _make_doors(self, config: Config) -> None:
        self._commitment = Commitment(config, self.ledger, self.spool.has)
        record = self.ledger.trail.record
        alerts = Alerts(record)
        self.listener = Listener(
            config.listener,
            self.spool,
            self._record,
            commitment=self._commitment if self._commitment.is_used else None,
            named_callers=named_callers(config),
            refused=alerts.refused,
        )
        self.stow = _StowServer(config.stow, self.spool, self._record, alerts.refused)
        self._watch_folder = (
            WatchFolder(config.watch_folder, self.spool, self._record)
            if self._has_doors and config.watch_folder.path
            else None
        )
        self._performer = (
            Performer(config, self.ledger, self.spool, self._record)
            if self._has_doors and config.worklist.url
            else None
        )
        engine = self.ledger.engine
        browsers = Browsers.of(config.web, engine, self._clock) if config.web.enabled else None
        self.viewer = viewer_server(config, record, browsers) if config.viewer.studies else None

    def start(self) -> None:
        """Resume what was under way, then open the doors. Raises ConfigError."""
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._durable.start()
            settings = hashlib.sha256(self.config.model_dump_json().encode()).hexdigest()
            self.ledger.trail.started(__version__, settings)
            self._was_started = True
            self._forwarder.start()
            self._traces.start()
            self._metrics.start()
            if self._has_doors:
                self._open_doors()
            self._ticker.start()
            if self.config.workers.jobs:
                self._opener.start()
            self._shadows.start()
            self._retention.start()
            undo.pop_all()

    def _open_doors(self) -> None:
        self.stow.start()
        if self.viewer is not None:
            self.viewer.start()
        if self._watch_folder is not None:
            self._watch_folder.start()
        if self._performer is not None:
            self._performer.start()
        self.listener.start()
        self._listening_since = self._clock()
        self._collector.start()
        self._commitment.start()

    def stop(self) -> None:
        """Close the doors, let running work end for a while, give everything back."""
        self.listener.stop()
        self.stow.stop()
        if self._watch_folder is not None:
            self._watch_folder.stop(STOP_SECONDS)
        if self._performer is not None:
            self._performer.stop(STOP_SECONDS)
        if self.viewer is not None:
            self.viewer.stop(STOP_SECONDS)
        self._stopping.set()
        for thread in (self._ticker, self._opener):
            if thread.is_alive():
                thread.join(STOP_SECONDS)
        self._collector.stop(STOP_SECONDS)
        self._retention.stop(STOP_SECONDS)
        self._commitment.stop(STOP_SECONDS)
        self._durable.stop()
        self._metrics.stop()
        self._shadows.stop(STOP_SECONDS)
        self._traces.stop(STOP_SECONDS)
        self.models.close()
        self._end_audit()
        self.ledger.close()

    def _end_audit(self) -> None:
        if self._was_started:
            try:
                self.ledger.trail.record(audit.application_stopped())
            except LedgerError as error:
                log.error("the stop is not in the audit trail", reason=str(error))
        self._forwarder.stop(STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _record(self, instance: ReceivedInstance, spooled: SpooledFile) -> None:
        arrival = self.ledger.studies.record_instance(
            instance, sha256=spooled.sha256, size_bytes=spooled.size_bytes
        )
        if arrival.duplicate:
            log.info("instance was here already", sop_instance_uid=instance.sop_instance_uid)

    def _doors(self) -> Doors:
        callers = self.listener.open_callers() | self.stow.open_callers()
        if self._watch_folder is not None:
            callers |= self._watch_folder.open_callers()
        if self._performer is not None:
            callers |= self._performer.open_callers()
        here = Doors(callers, self._listening_since)
        return here if self._lease is None else self._lease.doors(here)

    def _open_models(self) -> None:
        """Ahead of the first study: it need not wait, and what is wrong shows at the start.

        Then switch to each new version when it comes, not only with the next study.
        """
        for name, model in self.config.models.items():
            try:
                settled = settle(model.bundle, servers_of([model]))
                if settled:
                    log.warning("a promotion that was cut short", model=name, now=str(settled))
                self.models.get(name)
            except WetreadError as error:
                metrics.FAILURES.labels("infer", codes_for(error).label).inc()
                log.error("model cannot be opened", model=name, reason=str(error), hint=error.hint)
        while not self._stopping.wait(REFRESH_SECONDS):
            self.models.refresh()

    def _tick_until_stopped(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            try:
                self._durable.give(self.pipeline.due(self._clock()))
            except LedgerError as error:
                metrics.FAILURES.labels("assemble", codes_for(error).label).inc()
                log.error("the ledger does not answer", reason=str(error))
                self._stopping.wait(LEDGER_SECONDS)


class _MetricsServer:
    """Prometheus text in a thread of its own, with the gauges; nothing where the port is 0."""

    def __init__(self, config: MetricsConfig, gauges: Gauges) -> None:
        self._config = config
        self._gauges = gauges
        self._server: WSGIServer | None = None

    def start(self) -> None:
        """Raises ConfigError if the address cannot be had."""
        host, port = self._config.host, self._config.port
        if not port:
            return
        try:
            self._server, _ = start_http_server(port, host)
        except OSError as error:
            raise ConfigError(
                f"cannot show metrics on {host}:{port}: {error.strerror}",
                hint="another program may use the port; set metrics.host and metrics.port",
            ) from error
        self._gauges.start()

    def stop(self) -> None:
        if self._server is not None:
            self._gauges.stop(STOP_SECONDS)
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _StowServer:
    """The STOW-RS door in a thread of its own; nothing at all where it is not enabled."""

    def __init__(
        self,
        config: StowConfig,
        spool: Spool,
        record: Callable[[ReceivedInstance, SpooledFile], None],
        refused: Refused,
    ) -> None:
        self._door: StowDoor | None = None
        self._server: HttpServer | None = None
        if config.enabled:
            self._door = StowDoor(config, spool, record, refused=refused)
            self._server = HttpServer(self._door.app, config.host, config.port, name="stow")

    def open_callers(self) -> frozenset[str]:
        return frozenset() if self._door is None else self._door.open_callers()

    def start(self) -> None:
        """Listen. Raises ConfigError if the address cannot be had."""
        if self._server is not None:
            self._server.start()

    @property
    def port(self) -> int:
        """The port in use; it must be enabled."""
        return 0 if self._server is None else self._server.port

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(STOP_SECONDS)

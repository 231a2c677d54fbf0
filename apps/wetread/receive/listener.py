"""The door for DICOM: accepts connections, gives each a thread, knows who is connected.

A connection that has not asked for an association holds no place among `max_associations`: silent
sockets are closed after 10 s, and the oldest of them at once when there are too many, so they
cannot lock out a sender.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable

import structlog

from wetread import metrics
from wetread.config import ListenerConfig
from wetread.dicom.tls import listening_context, reason_of
from wetread.errors import ConfigError
from wetread.receive.accept import Intake, Record
from wetread.receive.association import (
    ASSOCIATE_TIMEOUT_SECONDS,
    AcceptedAssociation,
    CommitmentDoor,
    Terms,
)
from wetread.receive.callers import Refused, nobody_told
from wetread.receive.spool import Spool
from wetread.receive.upper_layer import NO_TLS, Link, address_of

log = structlog.get_logger()

MAXIMUM_SILENT_CONNECTIONS = 256
_BACKLOG = 512
_STOP_SECONDS = 10.0


class _Connections:
    """Every open connection: silent ones in order of arrival, and those with an association."""

    def __init__(self, max_associations: int) -> None:
        self._max_associations = max_associations
        self._lock = threading.Lock()
        self._silent: dict[int, socket.socket] = {}
        self._established: dict[int, tuple[str, socket.socket]] = {}

    def add(self, number: int, connection: socket.socket) -> None:
        with self._lock:
            self._silent[number] = connection
            if len(self._silent) > MAXIMUM_SILENT_CONNECTIONS:
                _hang_up(self._silent.pop(next(iter(self._silent))))

    def replace(self, number: int, connection: socket.socket) -> None:
        """The same connection, by another socket. The silent one may have been dropped by now."""
        with self._lock:
            if number in self._silent:
                self._silent[number] = connection

    def establish(self, number: int, calling_ae_title: str) -> bool:
        """Give the connection a place; false if all are taken."""
        with self._lock:
            connection = self._silent.pop(number, None)
            if connection is None or len(self._established) >= self._max_associations:
                return False
            self._established[number] = (calling_ae_title, connection)
            return True

    def remove(self, number: int) -> None:
        with self._lock:
            self._silent.pop(number, None)
            self._established.pop(number, None)

    def callers(self) -> frozenset[str]:
        with self._lock:
            return frozenset(caller for caller, _ in self._established.values())

    def count(self) -> int:
        with self._lock:
            return len(self._established)

    def hang_up(self) -> None:
        """End the reading of all; an instance that is being stored is still answered."""
        with self._lock:
            sockets = [*self._silent.values(), *(s for _, s in self._established.values())]
        for connection in sockets:
            _hang_up(connection)


def _hang_up(connection: socket.socket) -> None:
    # Not TLS's own shutdown: what is answered after it would go out in the clear.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RD)


def _tls_of(config: ListenerConfig) -> ssl.SSLContext | None:
    if config.certificate_file is None or config.key_file is None:
        return None
    return listening_context(config.certificate_file, config.key_file, config.client_ca_file)


class Listener:
    """The C-STORE and C-ECHO SCP (PS3.4 Annexes A and B).

    With `certificate_file` it speaks TLS and nothing else (PS3.15 B.12). Raises ConfigError if the
    files of TLS cannot be used.

    `record` is called for every instance once it is durable and before it is acknowledged;
    `on_association_end` with the calling AE title after each association; `refused` with AE title,
    address and reason where one is not let in. Metrics call those of `named_callers` by their name.
    """

    def __init__(
        self,
        config: ListenerConfig,
        spool: Spool,
        record: Record,
        on_association_end: Callable[[str], None] | None = None,
        *,
        commitment: CommitmentDoor | None = None,
        named_callers: frozenset[str] = frozenset(),
        refused: Refused = nobody_told,
    ) -> None:
        self._config = config
        self._terms = Terms.of(config, commitment, named_callers, refused)
        self._tls = _tls_of(config)
        self._intake = Intake(spool, record)
        self._on_association_end = on_association_end
        self._connections = _Connections(config.max_associations)
        self._associations: dict[int, AcceptedAssociation] = {}
        self._threads: set[threading.Thread] = set()
        self._numbers = itertools.count()
        self._socket: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The port in use; the real one where the configuration says 0."""
        if self._socket is None:
            return self._config.port
        return int(self._socket.getsockname()[1])

    def open_callers(self) -> frozenset[str]:
        """The calling AE titles that have an association open now."""
        return self._connections.callers()

    def open_associations(self) -> int:
        """How many there are now."""
        return self._connections.count()

    def open_studies(self) -> frozenset[str]:
        """The studies of which an association that is open now has brought something."""
        return frozenset().union(
            *(each.study_instance_uids.copy() for each in list(self._associations.values()))
        )

    def start(self) -> None:
        """Listen. Raises ConfigError if the address cannot be had."""
        address = (self._config.host, self._config.port)
        family = socket.AF_INET6 if ":" in self._config.host else socket.AF_INET
        try:
            self._socket = socket.create_server(address, family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {address[0]}:{address[1]}: {error.strerror}",
                hint="another program may use the port; set listener.host and listener.port",
            ) from error
        self._stopping.clear()
        self._acceptor = threading.Thread(target=self._accept, name="listener", daemon=True)
        self._acceptor.start()
        log.info(
            "listening",
            ae_title=self._config.ae_title,
            host=address[0],
            port=self.port,
            tls=self._tls is not None,
        )

    def stop(self) -> None:
        """Take no more connections, let instances that have arrived be answered, close the rest."""
        if self._socket is None:
            return
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._acceptor is not None:
            self._acceptor.join(_STOP_SECONDS)
        self._socket.close()
        self._socket = None
        self._connections.hang_up()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        listening = self._socket
        while listening is not None and not self._stopping.is_set():
            try:
                connection, _ = listening.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    # Out of file descriptors, most likely; others will close theirs.
                    log.warning("cannot accept a connection", reason=error.strerror)
                    self._stopping.wait(0.1)
                continue
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        number = next(self._numbers)
        self._connections.add(number, connection)
        thread = threading.Thread(
            target=self._serve, args=(number, connection), name=f"association {number}", daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            log.exception("no thread for a connection")
            self._threads.discard(thread)
            self._connections.remove(number)
            connection.close()

    def _serve(self, number: int, connection: socket.socket) -> None:
        try:
            secured = self._secured(number, connection)
            if secured is not None:
                self._associate(number, secured)
        finally:
            self._connections.remove(number)
            self._threads.discard(threading.current_thread())

    def _associate(self, number: int, connection: socket.socket) -> None:
        association = AcceptedAssociation(
            Link(connection),
            self._terms,
            self._intake,
            lambda caller: self._connections.establish(number, caller),
        )
        self._associations[number] = association
        try:
            association.run()
        finally:
            self._connections.remove(number)
            del self._associations[number]
            if association.calling_ae_title and self._on_association_end is not None:
                self._on_association_end(association.calling_ae_title)

    def _secured(self, number: int, connection: socket.socket) -> socket.socket | None:
        """The connection after its handshake; as it is without TLS; None if that failed."""
        if self._tls is None:
            return connection
        address = address_of(connection)
        connection.settimeout(ASSOCIATE_TIMEOUT_SECONDS)
        current = connection
        try:
            current = secured = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            self._connections.replace(number, secured)
            secured.do_handshake()
        except OSError as error:
            reason = reason_of(error) if isinstance(error, ssl.SSLError) else str(error)
            metrics.ASSOCIATIONS_REJECTED.labels(NO_TLS).inc()
            log.warning("TLS handshake failed", address=address, reason=reason)
            current.close()
            self._terms.refused("", address, f"no TLS: {reason}")
            return None
        return secured

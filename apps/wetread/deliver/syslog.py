"""Giving messages to a syslog server: RFC 5426 over UDP, RFC 5425 over TLS, the same without TLS.

TCP does not tell whether the other side has read what it took, and syslog has no answer. So a batch
has a connection of its own: it has arrived once the server, having read to the end, closes it in
order. A server that dies with something unread resets the connection instead.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from wetread.config import AuditConfig
from wetread.dicom.tls import calling_context, reason_of
from wetread.errors import DestinationUnavailableError

# Long enough for a host to say that nobody listens there, which is all that UDP can tell.
_REFUSAL_SECONDS = 0.1


class SyslogServer:
    """A server that messages are sent to. Raises ConfigError if the files of TLS cannot be used."""

    def __init__(self, config: AuditConfig) -> None:
        self._config = config
        parts = urlsplit(config.syslog)
        self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port or 0
        self._tls = None
        if self._scheme == "tls":
            self._tls = calling_context(config.ca_file, config.certificate_file, config.key_file)

    def send(self, messages: Sequence[bytes]) -> None:
        """All of them, in order. Raises DestinationUnavailableError; some may have arrived then."""
        try:
            if self._scheme == "udp":
                self._send_datagrams(messages)
            else:
                self._send_stream(messages)
        except OSError as error:
            reason = reason_of(error) if isinstance(error, ssl.SSLError) else str(error)
            raise DestinationUnavailableError(
                f"{self._config.syslog} does not take audit messages: {reason}",
                hint="is the syslog server up, and [audit] syslog right? The events are kept",
            ) from error

    def _send_datagrams(self, messages: Sequence[bytes]) -> None:
        address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(address[0], socket.SOCK_DGRAM) as datagrams:
            datagrams.connect(address[4])
            for message in messages:
                datagrams.send(message)
            datagrams.settimeout(_REFUSAL_SECONDS)
            with contextlib.suppress(TimeoutError):
                datagrams.recv(1)

    def _send_stream(self, messages: Sequence[bytes]) -> None:
        with self._connected() as connection:
            for message in messages:
                connection.sendall(b"%d %b" % (len(message), message))
            if isinstance(connection, ssl.SSLSocket):
                _close_tls(connection)
            else:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        seconds = self._config.timeout_seconds
        with socket.create_connection((self._host, self._port), timeout=seconds) as connection:
            if self._tls is None:
                yield connection
                return
            name = self._config.certificate_name or self._host
            with self._tls.wrap_socket(connection, server_hostname=name) as secured:
                yield secured


def _close_tls(connection: ssl.SSLSocket) -> None:
    try:
        connection.unwrap().close()
    except ssl.SSLEOFError:
        # It closed after our own last word without one of its own, as many do.
        return

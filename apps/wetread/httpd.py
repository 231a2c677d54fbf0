"""An ASGI application in a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
import uvicorn
from starlette.responses import JSONResponse, Response

from wetread.errors import ConfigError

log = structlog.get_logger()

_LAST_ANSWERS_SECONDS = 10
# Addresses of this machine alone.
HERE = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate and its key, in PEM."""

    certificate_file: Path
    key_file: Path


def address(host: str, port: int, *, tls: bool = False) -> str:
    """Where browsers reach host and port; they leave the usual port out."""
    end = "" if port == (443 if tls else 80) else f":{port}"
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}{end}"


def addresses(host: str, port: int, public_url: str, *, tls: bool = False) -> Mapping[str, str]:
    """A server's addresses, by what a request's Host may be.

    Another name that leads here is somebody's trick.
    """
    found = {public_url.rstrip("/") or address(host, port, tls=tls)}
    if host in HERE:
        found |= {address(each, port, tls=tls) for each in HERE}
    return {urlsplit(each).netloc: each for each in found}


class HttpServer:
    """Serves `app` at host and port once it is started; `name` is of the section of its settings.

    `lifespan` says that the application wants to be told of start and end. `proxies` are addresses
    whose X-Forwarded-For and -Proto are believed.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        name: str,
        lifespan: bool = False,
        tls: Tls | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        self._host, self._port, self._name = host, port, name
        settings = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on" if lifespan else "off",
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            ssl_certfile=tls.certificate_file if tls else None,
            ssl_keyfile=tls.key_file if tls else None,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        self._settings = settings
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._serve, name=name)

    def start(self) -> None:
        """Listen. Raises ConfigError if the address cannot be had, or the certificate not read."""
        self._load()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._socket = socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror}",
                hint="another program may use the port; set "
                f"{self._name}.host and {self._name}.port",
            ) from error
        self._thread.start()
        log.info("listening for HTTP", what=self._name, host=self._host, port=self.port)

    def _load(self) -> None:
        # Else the thread would find out, and end.
        try:
            self._settings.load()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"{self._name}: the certificate cannot be used: {error.strerror or error}",
                hint=f"check {self._name}.certificate_file and {self._name}.key_file",
            ) from error

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._socket.getsockname()[1])

    def stop(self, wait_seconds: float) -> None:
        """Answer what is under way, then end."""
        if self._thread.is_alive():
            self._server.should_exit = True
            self._thread.join(wait_seconds)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def refused(
    status: int, fact: str, hint: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says why not, and what to do."""
    return JSONResponse({"error": fact, "hint": hint}, status, headers)

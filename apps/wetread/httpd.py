"""An ASGI application in a thread of its own."""

from __future__ import annotations

import socket
import threading
from typing import Any

import structlog
import uvicorn

from wetread.errors import ConfigError

log = structlog.get_logger()

_LAST_ANSWERS_SECONDS = 10


class HttpServer:
    """Serves `app` at host and port once it is started; `name` is of the section of its settings.

    `lifespan` says that the application wants to be told of start and end.
    """

    def __init__(
        self, app: Any, host: str, port: int, *, name: str, lifespan: bool = False
    ) -> None:
        self._host, self._port, self._name = host, port, name
        settings = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on" if lifespan else "off",
            server_header=False,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._serve, name=name)

    def start(self) -> None:
        """Listen. Raises ConfigError if the address cannot be had."""
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

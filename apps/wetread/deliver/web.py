"""What destinations that speak HTTP have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from wetread.config import DicomwebDestination, FhirDestination, TracesConfig, WorklistConfig
from wetread.dicom.tls import calling_context
from wetread.errors import DestinationUnavailableError
from wetread.files import secret_in

# They ask to come again; every other 4xx will answer the same next time.
COME_AGAIN = {408, 429}


class WebServer:
    """A server at `url`, with what it wants to see of us.

    Raises ConfigError if the password, token or CA file cannot be read.
    """

    def __init__(
        self, name: str, config: DicomwebDestination | FhirDestination, accepts: str
    ) -> None:
        self.url = config.url.rstrip("/")
        self.place = f"{name} ({self.url})"
        self._accepts = {"Accept": accepts}
        self._login = _login(config)

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
    ) -> httpx.Response:
        """Ask below its `url`. Raises DestinationUnavailableError if there is no answer."""
        try:
            with httpx.Client(**self._login) as client:
                return client.request(
                    method,
                    f"{self.url}/{path}".rstrip("/"),
                    headers={**self._accepts, **(headers or {})},
                    content=content,
                )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise DestinationUnavailableError(
                f"{self.place} cannot be reached: {error or type(error).__name__}",
                hint="check that it runs and its url",
                stage="deliver",
            ) from error


def open_client(config: WorklistConfig | TracesConfig) -> httpx.Client:
    """A client with the user or token that the table names. Raises ConfigError for its files."""
    return httpx.Client(**_login(config))


def _login(
    config: DicomwebDestination | FhirDestination | WorklistConfig | TracesConfig,
) -> dict[str, Any]:
    """What a client of httpx is made with: user or token, authorities, time-out."""
    auth = None
    if not isinstance(config, TracesConfig) and config.user:
        auth = httpx.BasicAuth(config.user, secret_in(config.password_file, "password_file"))
    token = secret_in(config.token_file, "token_file")
    return {
        "timeout": config.timeout_seconds,
        "auth": auth,
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        "verify": calling_context(config.ca_file),
    }

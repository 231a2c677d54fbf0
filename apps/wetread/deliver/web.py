"""What destinations that speak HTTP have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx

from wetread.config import DicomwebDestination, FhirDestination, TracesConfig, WorklistConfig
from wetread.dicom.tls import calling_context
from wetread.errors import ConfigError, DestinationUnavailableError

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
        self._timeout_seconds = config.timeout_seconds
        self._headers = {"Accept": accepts, **_bearer(config.token_file)}
        self._tls = calling_context(config.ca_file)
        self._auth = None
        if config.user:
            self._auth = httpx.BasicAuth(config.user, _secret(config.password_file))

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
    ) -> httpx.Response:
        """Ask below its `url`. Raises DestinationUnavailableError if there is no answer."""
        try:
            with httpx.Client(
                timeout=self._timeout_seconds, auth=self._auth, verify=self._tls
            ) as client:
                return client.request(
                    method,
                    f"{self.url}/{path}".rstrip("/"),
                    headers={**self._headers, **(headers or {})},
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
    auth = None
    if isinstance(config, WorklistConfig) and config.user:
        auth = httpx.BasicAuth(config.user, _secret(config.password_file))
    return httpx.Client(
        timeout=config.timeout_seconds,
        auth=auth,
        headers=_bearer(config.token_file),
        verify=calling_context(config.ca_file),
    )


def _bearer(token_file: Path | None) -> dict[str, str]:
    return {} if token_file is None else {"Authorization": f"Bearer {_secret(token_file)}"}


def _secret(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="check the path and who may read it"
        ) from error

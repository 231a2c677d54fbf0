"""How this server is known to the archive; lent to nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from lib.settings import Settings

# To connect, and between two pieces of an answer, in seconds.
_TIMEOUTS = (10.0, 120.0)


class _Timed(HTTPAdapter):
    """An archive that hangs is one that does not answer."""

    def send(self, request: Any, *arguments: Any, **options: Any) -> requests.Response:
        """As requests does, but never for ever."""
        if options.get("timeout") is None:
            options["timeout"] = _TIMEOUTS
        return super().send(request, *arguments, **options)


def archive_headers(settings: Settings) -> dict[str, str]:
    """`Authorization` from the files that the settings name; empty without any.

    Raises OSError for a file that cannot be read, ValueError for a user without a password file.
    """
    if settings.studies_token_file:
        return {"Authorization": f"Bearer {_secret(settings.studies_token_file)}"}
    if not settings.studies_user:
        return {}
    if not settings.studies_password_file:
        raise ValueError(f"studies_user {settings.studies_user} has no studies_password_file")
    login = requests.Request(
        "GET",
        "http://archive/",
        auth=(settings.studies_user, _secret(settings.studies_password_file)),
    ).prepare()
    return {"Authorization": str(login.headers["Authorization"])}


def archive_session(settings: Settings) -> requests.Session:
    """For DICOMwebClient; it takes no credentials or proxies from the surroundings."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Timed())
    session.trust_env = False
    session.headers.update(archive_headers(settings))
    return session


def _secret(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip()

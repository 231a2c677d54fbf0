"""How this server is known to the archive; lent to nobody."""

from __future__ import annotations

from pathlib import Path

import requests

from lib.settings import Settings


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
    session.trust_env = False
    session.headers.update(archive_headers(settings))
    return session


def _secret(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip()

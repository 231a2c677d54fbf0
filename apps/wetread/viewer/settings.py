"""What the viewer is told, and the addresses that follow from it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from wetread.config import ViewerConfig
from wetread.errors import ConfigError
from wetread.files import secret_in
from wetread.httpd import HERE, address, addresses

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def is_of_this_machine(config: ViewerConfig) -> bool:
    """Whether nobody reaches it from elsewhere."""
    return config.host in HERE and not config.public_url


def check_settings(config: ViewerConfig, has_users: bool, dashboard: str = "") -> None:
    """Raises ConfigError if no archive is named, or if strangers could use the archive.

    Whoever has logged in at `dashboard` is known here if both have one host name.
    """
    if not config.studies.startswith(("http://", "https://")):
        raise ConfigError(
            f"viewer.studies {config.studies!r} names no archive",
            hint="the URL of a DICOMweb origin, such as http://host:8042/dicom-web",
        )
    if is_of_this_machine(config):
        return
    if not has_users and not _is_beside(config, dashboard):
        raise ConfigError(
            f"the viewer at {config.public_url or config.host} can be reached from elsewhere, and "
            "there are no users",
            hint="give it the host name of the dashboard, whose users it lets in then; name users "
            "with tokens ([users.NAME]); or listen on 127.0.0.1",
        )
    if config.host in _EVERYWHERE and not config.public_url:
        raise ConfigError(
            f"viewer.host {config.host} says not by which name browsers reach it",
            hint='viewer.public_url = "https://viewer.hospital.example"',
        )


def _is_beside(config: ViewerConfig, dashboard: str) -> bool:
    """Whether a browser brings its session of the dashboard along: by host name, TLS to TLS."""
    ours, theirs = urlsplit(address_of(config)), urlsplit(dashboard)
    return ours.hostname == theirs.hostname and ours.scheme == theirs.scheme


def address_of(config: ViewerConfig) -> str:
    """Where browsers reach the viewer, without a slash at the end."""
    return config.public_url.rstrip("/") or address(config.host, config.port)


def study_address(config: ViewerConfig, study_instance_uid: str, *, reports: bool = False) -> str:
    """Where a study opens, with its newest Segmentation drawn on the images, to be corrected.

    With `reports` it opens where Structured Reports do.
    """
    mode = "viewer" if reports else "segmentation"
    query = urlencode({"StudyInstanceUIDs": study_instance_uid, "hangingprotocolid": "default"})
    return f"{address_of(config)}/{mode}?{query}"


def addresses_of(config: ViewerConfig) -> Mapping[str, str]:
    """The viewer's addresses, by what a request's Host may be."""
    return addresses(config.host, config.port, config.public_url)


def archive_headers(config: ViewerConfig) -> Mapping[str, str]:
    """The Authorization that the archive wants of us, or nothing.

    Raises ConfigError if a file with a secret cannot be read.
    """
    token = secret_in(config.studies_token_file, "viewer.studies_token_file")
    if token:
        return {"Authorization": f"Bearer {token}"}
    if config.studies_user:
        password = secret_in(config.studies_password_file, "viewer.studies_password_file")
        pair = base64.b64encode(f"{config.studies_user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}

"""What `wetread label serve` tells this app: a JSON file that an environment variable names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "WETREAD_LABEL_SETTINGS"


@dataclass(frozen=True)
class User:
    """Somebody with a token, of which only the SHA-256 is kept, in hexadecimal."""

    name: str
    roles: tuple[str, ...]
    token_sha256: str


@dataclass(frozen=True)
class Settings:
    """The settings; `folder` is where the app writes.

    `bundles` are working copies, so that a training changes nothing that the gateway runs.
    `triton_url` (http://host:port) serves the bundles that have no weights of their own.
    `studies_user` with a password file, or a token file alone: how the archive knows this server.
    `max_infers` counts the one that runs and those that wait for it.
    """

    folder: Path
    bundles: Path
    host: str
    port: int
    triton_url: str = ""
    modalities: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    max_upload_bytes: int = 2_000_000_000
    max_sessions: int = 20
    max_infers: int = 8
    studies_user: str = ""
    studies_password_file: str = ""
    studies_token_file: str = ""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """Of the file's content."""
        users = tuple(
            User(each["name"], tuple(each["roles"]), each["token_sha256"])
            for each in values.get("users", [])
        )
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name not in ("users", "folder", "bundles")
        }
        folder, bundles = Path(values["folder"]), Path(values["bundles"])
        return cls(folder=folder, bundles=bundles, users=users, **known)


def read_settings() -> Settings:
    """The settings of this process. Raises KeyError without the variable: it is not for hands."""
    path = Path(os.environ[VARIABLE])
    return Settings.from_json(json.loads(path.read_text(encoding="utf-8")))

"""Pseudonyms from a key: the same for everything of a patient, and nobody without the key can tell.

Nothing is stored. With the key and the originals, what belongs to which is derived again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import uuid
from datetime import timedelta
from pathlib import Path

from wetread.errors import ConfigError

_LEAST_BYTES = 32
_MOST_DAYS = 3650


class Pseudonyms:
    """What a key makes of UIDs, patients and dates."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> Pseudonyms:
        """The key in a file of at least 64 hexadecimal digits. Raises ConfigError."""
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except OSError as error:
            raise ConfigError(
                f"cannot read the key {path}: {error.strerror}",
                hint="`wetread deidentify --new-key` makes one; keep a copy in a safe place",
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"{path} holds no key in hexadecimal", hint="openssl rand -hex 32 makes one"
            ) from error
        if len(key) < _LEAST_BYTES:
            raise ConfigError(
                f"the key in {path} has {len(key)} bytes, not {_LEAST_BYTES}",
                hint="openssl rand -hex 32 makes one",
            )
        return cls(key)

    def uid(self, original: str) -> str:
        """Another UID, under 2.25 (PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def patient(self, patient_id: str, issuer: str) -> str:
        """A Patient ID of 16 letters and digits."""
        return base64.b32encode(self._digest("patient", issuer, patient_id)[:10]).decode("ascii")

    def shift(self, patient_id: str, issuer: str) -> timedelta:
        """How far the patient's dates lie back: 1 to 3650 whole days."""
        number = int.from_bytes(self._digest("days", issuer, patient_id)[:8], "big")
        return timedelta(days=1 + number % _MOST_DAYS)

    def _digest(self, *parts: str) -> bytes:
        return hmac.digest(self._key, "\x1f".join(parts).encode(), hashlib.sha256)


def make_key(path: Path) -> None:
    """Write a new key to a file that is not there yet. Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot make the key {path}: {error.strerror}",
            hint="with another key nothing fits any more: choose a new place",
        ) from error
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - for its owner alone
        file.write(secrets.token_hex(_LEAST_BYTES) + "\n")

"""Passwords as argon2id, other secrets as SHA-256: what is kept cannot be turned back."""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from wetread.errors import AccessError

LEAST_CHARACTERS = 12
MOST_CHARACTERS = 256
TOKEN_PREFIX = "wetread_"  # noqa: S105 - so that a scanner of leaked secrets knows it
_BYTES = 32
# RFC 9106's choice for little memory: 64 MiB and some 50 ms each, so only a few at once.
_HASHER = PasswordHasher()
_PLACES = threading.BoundedSemaphore(2)


def new_secret() -> str:
    """256 random bits, as text that fits in a cookie and a header."""
    return secrets.token_urlsafe(_BYTES)


def new_token() -> str:
    """A secret that says what it is for."""
    return TOKEN_PREFIX + new_secret()


def new_password() -> str:
    """One that a person can type."""
    return "-".join(secrets.token_hex(3) for _ in range(4))


def digest_of(secret: str) -> str:
    """What is kept of a random secret, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def form_token(secret: str) -> str:
    """What the forms of the one with that cookie must carry; another site cannot know it."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()


def hash_password(password: str) -> str:
    """Raises AccessError for a password that is too short or too long."""
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise AccessError(
            f"a password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters, "
            f"not {len(password)}",
            hint="a few words make a good one",
        )
    with _PLACES:
        return _HASHER.hash(password)


@functools.cache
def _of_nobody() -> str:
    return _HASHER.hash(secrets.token_hex())


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether it is the one; where there is none it takes as long, and it is not."""
    with _PLACES:
        try:
            _HASHER.verify(password_hash or _of_nobody(), password[:MOST_CHARACTERS])
        except VerifyMismatchError:
            return False
    return True


def is_outdated(password_hash: str) -> bool:
    """Whether it was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(password_hash)

"""Logins: what a browser's cookie and Slicer's token stand for, in this process only.

A login is a random id, not the user's token: it ends by itself or by logging out, and a stolen one
is worth nothing after a restart. Only its hash is kept.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from lib.guard.people import sha256

LOGIN_SECONDS = 12 * 3600.0
MOST_LOGINS = 1000


@dataclass(frozen=True)
class _Login:
    name: str
    ends_at: float


class Logins:
    """At most `most` at a time: the oldest gives way."""

    def __init__(
        self,
        seconds: float = LOGIN_SECONDS,
        most: int = MOST_LOGINS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._most = most
        self._clock = clock
        self._logins: OrderedDict[str, _Login] = OrderedDict()

    def begin(self, name: str) -> str:
        """A new login of that user; returns its id."""
        login = secrets.token_urlsafe(32)
        self._logins[sha256(login)] = _Login(name, self._clock() + self.seconds)
        while len(self._logins) > self._most:
            self._logins.popitem(last=False)
        return login

    def name_of(self, login: str) -> str | None:
        """Whose login it is; None for one that ended or never was."""
        key = sha256(login)
        found = self._logins.get(key)
        if found is not None and found.ends_at <= self._clock():
            del self._logins[key]
            return None
        return found.name if found else None

    def end(self, login: str) -> None:
        """Log out."""
        self._logins.pop(sha256(login), None)

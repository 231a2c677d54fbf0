"""What the guard refuses, each with its HTTP status and headers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lib.errors import AnnotateError


class GuardError(AnnotateError):
    """A request that does not pass; `headers` go with the answer."""

    headers: Mapping[str, str] = MappingProxyType({})


class StrangerError(GuardError):
    """Nobody that is known here."""

    status = 401
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class ForbiddenError(GuardError):
    """Somebody who may not do this, or a page of another site that asks in his name."""

    status = 403


class NoSuchPathError(GuardError):
    """A path or method that this server does not have."""

    status = 404


class TooLargeError(GuardError):
    """A body beyond the limit."""

    status = 413


class _LaterError(GuardError):
    def __init__(self, message: str, *, hint: str, retry_seconds: float) -> None:
        super().__init__(message, hint=hint)
        self.headers = {"Retry-After": str(max(1, round(retry_seconds)))}


class TooManyError(_LaterError):
    """Too many attempts, sessions or tasks."""

    status = 429


class BusyError(_LaterError):
    """Too many others wait for the same."""

    status = 503

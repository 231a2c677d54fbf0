"""Who asks, for as long as a request is answered."""

from __future__ import annotations

from contextvars import ContextVar

LOCAL = "local"
_user: ContextVar[str] = ContextVar("wetread_annotate_user", default=LOCAL)


def current_user() -> str:
    """The name of the user who asks; `local` on a server without users, and outside of requests.

    It is the same in every thread that answers the request.
    """
    return _user.get()


def set_current_user(name: str) -> None:
    """For the rest of this request: the gate calls it, before a thread takes over."""
    _user.set(name)

"""Who does what is done now: a person who was let in, or the program itself."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """A person, and the address or host that the person came from."""

    name: str
    address: str = ""


_now: ContextVar[Actor | None] = ContextVar("wetread_actor", default=None)


def current_actor() -> Actor | None:
    """The person who acts in this thread or task; None is the program itself."""
    return _now.get()


@contextmanager
def acting(name: str, address: str = "") -> Iterator[None]:
    """What is recorded in here was done by that person. One who is not known yet has no name."""
    before = _now.set(Actor(name, address))
    try:
        yield
    finally:
        _now.reset(before)


def act_as_operator() -> None:
    """From now on this thread acts for whoever is logged in at this machine's shell."""
    _now.set(Actor(operator_name(), socket.gethostname()))


def operator_name() -> str:
    """Whoever is logged in at this machine's shell."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container the user may have no name.
        return f"user {os.getuid()}"

"""A route with the role that it needs; what has none is not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import compile_path

from lib.guard.refusals import NoSuchPathError

SMALL_BODY_BYTES = 1_000_000


@dataclass(frozen=True)
class Route:
    """`role` None is for everybody: for logging in, no more. An `upload` may have a large body."""

    method: str
    path: str
    role: str | None
    endpoint: Callable[..., Any]
    upload: bool = False


class Table:
    """Every route that there is."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._patterns = [(compile_path(each.path)[0], each) for each in self.routes]

    def find(self, method: str, path: str) -> Route:
        """The first route that fits. Raises NoSuchPathError."""
        fitting = [route for pattern, route in self._patterns if pattern.fullmatch(path)]
        for route in fitting:
            if route.method == method:
                return route
        if fitting:
            error = NoSuchPathError(
                f"{method} is not for {path[:200]}",
                hint=f"only {', '.join(sorted({each.method for each in fitting}))}",
            )
            error.status = 405
            raise error
        raise NoSuchPathError(
            f"nothing is at {path[:200]}", hint="viewers: /ohif/; the interface: README of annotate"
        )

    def is_public(self, method: str, path: str) -> bool:
        """Whether somebody who has not logged in may ask for it."""
        try:
            return self.find(method, path).role is None
        except NoSuchPathError:
            return False

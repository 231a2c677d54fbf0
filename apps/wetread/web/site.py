"""Everything that the routes work on, and who may call them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import FastAPI, HTTPException, Request
from fastapi.routing import APIRoute

from wetread.access.accounts import Accounts, User
from wetread.access.browsers import Browsers
from wetread.access.guard import Visitor
from wetread.access.keys import Sessions, Tokens
from wetread.access.limits import Limits
from wetread.access.oidc import Provider
from wetread.access.roles import Permission, least_role, may
from wetread.config import Config
from wetread.ledger import Ledger

# Paths that need nobody to be logged in, with what is under them.
OPEN_PATHS = ("/login", "/health", "/static")


@dataclass(frozen=True, slots=True)
class Site:
    """What the routes share; `stopping` ends the streams of pages that are open."""

    config: Config
    ledger: Ledger
    browsers: Browsers
    tokens: Tokens
    limits: Limits
    provider: Provider | None
    clock: Callable[[], float]
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def accounts(self) -> Accounts:
        """The users."""
        return self.browsers.accounts

    @property
    def sessions(self) -> Sessions:
        """Of those who have logged in."""
        return self.browsers.sessions


def site_of(request: Request) -> Site:
    """The one that the application was built with."""
    site: Site = request.app.state.site
    return site


def visitor_of(request: Request) -> Visitor:
    """Who the guard let through."""
    visitor: Visitor = request.state.visitor
    return visitor


class Needs:
    """A dependency of a route: only those come through whose role has the permission."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    def __call__(self, request: Request) -> User:
        """Gives the user. Raises HTTPException 403."""
        user = visitor_of(request).user
        if user is None or not may(user.role, self.permission):
            role = least_role(self.permission)
            raise HTTPException(403, f"this needs the role {role}")
        return user


def permission_of(route: APIRoute) -> Permission | None:
    """What a route needs."""
    found = [each.call for each in route.dependant.dependencies if isinstance(each.call, Needs)]
    return found[0].permission if found else None


def routes_of(app: FastAPI) -> tuple[APIRoute, ...]:
    """Every route that answers, but for files."""
    return tuple(route for route in app.routes if isinstance(route, APIRoute))


def check_routes(app: FastAPI) -> None:
    """Raises ValueError if there is a route that says not what it needs, or that cannot say it."""
    bare = [
        str(getattr(route, "path", route))
        for route in app.routes
        if not (isinstance(route, APIRoute) and permission_of(route))
        and not str(getattr(route, "path", "")).startswith(OPEN_PATHS)
    ]
    if bare:
        raise ValueError(f"routes that say not what they need: {', '.join(bare)}")

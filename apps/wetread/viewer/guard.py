"""Who may ask: by the name of this server, from its own pages, and as a user if there are any."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import anyio
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wetread.access.browsers import Browsers
from wetread.access.guard import VIEWER
from wetread.access.roles import Permission, may
from wetread.audit.actor import acting
from wetread.config import UserConfig
from wetread.errors import LedgerError
from wetread.httpd import refused

log = structlog.get_logger()

_MAY_STORE = {"annotator", "reviewer", "admin"}
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_MOST_LOOKUPS = 4
_READING, _STORING = {"GET", "HEAD"}, {"POST"}


@dataclass(frozen=True, slots=True)
class _Visitor:
    name: str
    may_store: bool


class Guard:
    """Lets requests through to `app`, adds the headers that isolate its pages.

    `addresses` are those of this server by what Host may be. `users` come by name and token (HTTP
    Basic), those of the dashboard by the session that `browsers` know. Unless `needs_user`,
    everybody who reaches it may read and store; else annotators and operators may store. The
    user's name is `scope["state"]["user"]`. `alert` hears of a wrong token and of whoever may not
    store: a name, an address, why.
    """

    def __init__(
        self,
        app: ASGIApp,
        addresses: Mapping[str, str],
        users: Mapping[str, UserConfig],
        alert: Callable[[str, str, str], None],
        browsers: Browsers | None,
        *,
        needs_user: bool,
    ) -> None:
        self._app = app
        self._addresses = dict(addresses)
        self._users = dict(users)
        self._alert = alert
        self._browsers = browsers
        self._needs_user = needs_user
        # Strangers may ask often, and the gateway needs the ledger, too.
        self._lookups = anyio.CapacityLimiter(_MOST_LOOKUPS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            # Of its own start and end the application is told; there are no other doors.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visitor, refusal = await self._judged(scope, headers)
        name = visitor.name if visitor else ""
        address = scope["client"][0] if scope["client"] else ""
        why = _why_alert(refusal, headers) if refusal else ""
        if why:
            await run_in_threadpool(self._alert, name, address, why)
        scope.setdefault("state", {})["user"] = name

        async def isolated(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(key.lower().encode(), text.encode()) for key, text in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        with acting(name, address):
            await (refusal or self._app)(scope, receive, isolated)

    async def _judged(
        self, scope: Scope, headers: Headers
    ) -> tuple[_Visitor | None, Response | None]:
        host, method = headers.get("host", ""), scope["method"]
        if host not in self._addresses:
            return None, refused(421, f"this server is not {host!r}", "viewer.public_url names it")
        if method not in _READING | _STORING:
            return None, refused(405, f"{method} is not taken", "GET reads, POST stores")
        try:
            visitor = await anyio.to_thread.run_sync(self._visitor, headers, limiter=self._lookups)
        except LedgerError as error:
            log.error("who asks cannot be looked up", reason=error.message)
            return None, refused(503, "the ledger does not answer", "try again; the log has more")
        return visitor, self._refusal(scope, headers, visitor)

    def _refusal(self, scope: Scope, headers: Headers, visitor: _Visitor | None) -> Response | None:
        host, method = headers["host"], scope["method"]
        if self._needs_user and visitor is None:
            return self._without_user(scope, headers)
        # A page of another site cannot say that it is of this one: the browser writes Origin.
        if method in _STORING and headers.get("origin") != self._addresses[host]:
            return refused(403, "only this server's own pages may store", "open the viewer itself")
        if method in _STORING and self._needs_user and visitor and not visitor.may_store:
            return refused(
                403,
                f"{visitor.name} may not store",
                'give the user the role "annotator" ([users.NAME]) or "operator" (dashboard)',
            )
        return None

    def _without_user(self, scope: Scope, headers: Headers) -> Response:
        if self._users or self._browsers is None:
            response = refused(401, "a user's name and token are needed", "[users.NAME]")
            response.headers["WWW-Authenticate"] = 'Basic realm="wetread viewer", charset="UTF-8"'
            return response
        if "text/html" not in headers.get("accept", ""):
            return refused(401, "nobody is logged in", f"log in at {self._browsers.dashboard}/")
        query = scope["query_string"].decode("latin-1")
        asked = scope["path"] + (f"?{query}" if query else "")
        there = f"{self._browsers.dashboard}{VIEWER}?to={quote(asked, safe='')}"
        return RedirectResponse(there, 303)

    def _visitor(self, headers: Headers) -> _Visitor | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        known = self._by_token(given) if scheme.lower() == "basic" else None
        if known is not None:
            return known
        user = self._browsers.user_of(headers)[0] if self._browsers else None
        if user is None or user.must_change:
            return None
        return _Visitor(user.name, may(user.role, Permission.CORRECT))

    def _by_token(self, given: str) -> _Visitor | None:
        try:
            name, _, token = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            return None
        digest = hashlib.sha256(token.encode()).hexdigest()
        user = self._users.get(name)
        if user is None or not hmac.compare_digest(digest, user.token_sha256):
            return None
        return _Visitor(name, bool(_MAY_STORE & set(user.roles)))


def _why_alert(refusal: Response, headers: Headers) -> str:
    """What to tell an administrator, if anything: a browser without a name has not asked yet."""
    if refusal.status_code == 401:
        return "wrong name or token" if "authorization" in headers else ""
    return str(json.loads(bytes(refusal.body))["error"]) if refusal.status_code == 403 else ""

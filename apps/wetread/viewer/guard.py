"""Who may ask: by the name of this server, from its own pages, and as a user if there are any."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wetread.audit.actor import acting
from wetread.config import UserConfig
from wetread.httpd import refused

_MAY_STORE = {"annotator", "reviewer", "admin"}
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
# Without a name it is a browser that has not asked for it yet.
_ALERTS = {401: "wrong name or token", 403: "may not store"}
_READING, _STORING = {"GET", "HEAD"}, {"POST"}


class Guard:
    """Lets requests through to `app`, adds the headers that isolate its pages.

    `addresses` are those of this server by what Host may be. Without `users` everybody who reaches
    it may read and store. With them, a browser asks for a name and a token (HTTP Basic); annotators
    may store. The user's name is `scope["state"]["user"]`. `alert` hears of a wrong token and of
    whoever may not store: a name, an address, why.
    """

    def __init__(
        self,
        app: ASGIApp,
        addresses: Mapping[str, str],
        users: Mapping[str, UserConfig],
        alert: Callable[[str, str, str], None],
    ) -> None:
        self._app = app
        self._addresses = dict(addresses)
        self._users = dict(users)
        self._alert = alert

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            # Of its own start and end the application is told; there are no other doors.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        user = self._user_of(headers)
        address = scope["client"][0] if scope["client"] else ""
        refusal = self._refusal(scope["method"], headers, user)
        if refusal is not None and refusal.status_code in _ALERTS and "authorization" in headers:
            why = _ALERTS[refusal.status_code]
            await run_in_threadpool(self._alert, user or "", address, why)
        scope.setdefault("state", {})["user"] = user or ""

        async def isolated(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(key.lower().encode(), text.encode()) for key, text in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        with acting(user or "", address):
            await (refusal or self._app)(scope, receive, isolated)

    def _refusal(self, method: str, headers: Headers, user: str | None) -> Response | None:
        host = headers.get("host", "")
        if host not in self._addresses:
            return refused(421, f"this server is not {host!r}", "viewer.public_url names it")
        if method not in _READING | _STORING:
            return refused(405, f"{method} is not taken", "GET reads, POST stores")
        if self._users and user is None:
            response = refused(401, "a user's name and token are needed", "[users.NAME]")
            response.headers["WWW-Authenticate"] = 'Basic realm="wetread viewer", charset="UTF-8"'
            return response
        # A page of another site cannot say that it is of this one: the browser writes Origin.
        if method in _STORING and headers.get("origin") != self._addresses[host]:
            return refused(403, "only this server's own pages may store", "open the viewer itself")
        if method in _STORING and user and not _MAY_STORE & set(self._users[user].roles):
            return refused(403, f"{user} may not store", 'give the user the role "annotator"')
        return None

    def _user_of(self, headers: Headers) -> str | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, _, token = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            return None
        digest = hashlib.sha256(token.encode()).hexdigest()
        user = self._users.get(name)
        return name if user and hmac.compare_digest(digest, user.token_sha256) else None

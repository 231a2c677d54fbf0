"""Before every answer: by which name it is asked for, who asks, and whether the form is ours."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wetread.access.accounts import User
from wetread.access.browsers import Browsers, cookies_of
from wetread.access.hashing import form_token
from wetread.access.keys import Tokens
from wetread.access.limits import Limits
from wetread.audit.actor import acting
from wetread.errors import LedgerError
from wetread.httpd import refused

log = structlog.get_logger()

FORM_FIELD = "form_token"
FORM_HEADER = "X-Form-Token"
# A page that refreshes itself is no sign of a person.
LIVE_HEADER = "X-Live"
API = "/api/"
HEALTH = "/health"
LOGIN, LOGOUT, PASSWORD = "/login", "/logout", "/password"
# Of the dashboard; it leads on to the viewer, once somebody has logged in.
VIEWER = "/viewer"
_READING = {"GET", "HEAD"}
_FORM = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Door:
    """What the guard knows. `addresses` are this server's by what Host may be; what is at or under
    `open_paths` needs no user."""

    browsers: Browsers
    tokens: Tokens
    limits: Limits
    addresses: Mapping[str, str]
    open_paths: tuple[str, ...]
    headers: Mapping[str, str]
    max_body_bytes: int

    @property
    def is_secure(self) -> bool:
        """Whether browsers speak TLS with it."""
        return self.browsers.is_secure

    @property
    def session_cookie(self) -> str:
        """The name of the cookie of whoever has logged in."""
        return self.browsers.session_cookie

    @property
    def visit_cookie(self) -> str:
        """Of somebody who has not logged in yet; it ties the form to the browser."""
        return f"{self.session_cookie}-visit"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: `scope["state"]["visitor"]`. `secret` is the cookie's, "" for a program."""

    user: User | None
    address: str
    secret: str = ""
    is_program: bool = False

    @property
    def form_token(self) -> str:
        """What this visitor's forms carry."""
        return form_token(self.secret) if self.secret else ""


class Guard:
    """Lets requests through to `app`; everything that it does not know is refused."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            # Of its own start and end the application is told; there are no other doors.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.lower().encode(), v.encode()) for k, v in self._headers(scope)]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        visitor, refusal, receive = await self._judged(scope, receive)
        scope.setdefault("state", {})["visitor"] = visitor
        with acting(visitor.user.name if visitor.user else "", address=visitor.address):
            await (refusal or self._app)(scope, receive, with_headers)

    def _headers(self, scope: Scope) -> list[tuple[str, str]]:
        # What a person may see stays in no cache.
        is_file = scope["path"].startswith("/static/")
        kept = ("Cache-Control", "no-cache" if is_file else "no-store")
        return [*self._door.headers.items(), kept]

    async def _judged(
        self, scope: Scope, receive: Receive
    ) -> tuple[Visitor, Response | None, Receive]:
        headers = Headers(scope=scope)
        address = scope["client"][0] if scope["client"] else ""
        nobody = Visitor(None, address)
        refusal = self._not_taken(scope, headers, address)
        if refusal is not None:
            return nobody, refusal, receive
        try:
            visitor = await run_in_threadpool(self._visitor, headers, address)
        except LedgerError as error:
            log.error("who asks cannot be looked up", reason=error.message)
            hint = "try again; the log has more"
            return nobody, _not_done(headers, 503, "the ledger does not answer", hint), receive
        refusal = self._without_user(scope, headers, visitor)
        if refusal is None and scope["method"] not in _READING and not visitor.is_program:
            refusal, receive = await self._foreign(headers, visitor, receive)
        return visitor, refusal, receive

    def _not_taken(self, scope: Scope, headers: Headers, address: str) -> Response | None:
        host = headers.get("host", "")
        # Who looks whether it lives asks by whatever address it has.
        if host not in self._door.addresses and scope["path"] != HEALTH:
            return refused(421, f"this server is not {host!r}", "web.public_url names it")
        if not self._door.limits.may_ask(address):
            return refused(429, "too many requests", "wait some seconds", {"Retry-After": "10"})
        if "transfer-encoding" in headers:
            return refused(411, "the length of the request is not told", "send Content-Length")
        if int(headers.get("content-length", "0")) > self._door.max_body_bytes:
            return refused(413, "the request is too large", "see web.max_upload_bytes")
        return None

    def _visitor(self, headers: Headers, address: str) -> Visitor:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            user = self._door.browsers.named(self._door.tokens.user_of(secret))
            return Visitor(user, address, is_program=True)
        user, session = self._door.browsers.user_of(headers, used=LIVE_HEADER not in headers)
        if user is None:
            return Visitor(None, address, cookies_of(headers).get(self._door.visit_cookie, ""))
        return Visitor(user, address, session)

    def _without_user(self, scope: Scope, headers: Headers, visitor: Visitor) -> Response | None:
        path: str = scope["path"]
        if any(path == each or path.startswith(each + "/") for each in self._door.open_paths):
            return None
        if visitor.user is None:
            if "hx-request" in headers:
                # A part of a page that is open: let the page itself lead to the log-in.
                return refused(401, "the session has ended", "log in", {"HX-Refresh": "true"})
            if path.startswith(API) or visitor.is_program or scope["method"] not in _READING:
                return _log_in_first()
            query = scope["query_string"].decode("latin-1")
            asked = path + (f"?{query}" if query else "")
            return RedirectResponse(f"{LOGIN}?next={quote(asked, safe='')}", 303)
        if visitor.user.must_change and path not in (PASSWORD, LOGOUT):
            if path.startswith(API):
                return refused(
                    403, f"{visitor.user.name} must change the password first", "log in and do so"
                )
            return RedirectResponse(PASSWORD, 303)
        return None

    async def _foreign(
        self, headers: Headers, visitor: Visitor, receive: Receive
    ) -> tuple[Response | None, Receive]:
        """A browser sends cookies along with what another site's page asks for, too."""
        origin = self._door.addresses[headers.get("host", "")]
        if headers.get("origin") != origin:
            return _strange(headers, "only this server's own pages may do this"), receive
        given = headers.get(FORM_HEADER, "")
        is_form = headers.get("content-type", "").partition(";")[0] == _FORM
        if not given and is_form and int(headers.get("content-length", "0")) <= _MAX_FORM_BYTES:
            body = await _read(receive)
            given = parse_qs(body.decode("latin-1")).get(FORM_FIELD, [""])[-1]
            receive = _again(body, receive)
        if not given or not hmac.compare_digest(given, visitor.form_token):
            return _strange(headers, "the form is too old"), receive
        return None, receive


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Once more what was read already, then what follows."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _strange(headers: Headers, fact: str) -> Response:
    return _not_done(headers, 403, fact, "open the page again, then repeat")


def _not_done(headers: Headers, status: int, fact: str, hint: str) -> Response:
    if "text/html" not in headers.get("accept", ""):
        return refused(status, fact, hint)
    link = '<a href="/">wetread</a>'
    return HTMLResponse(
        '<!doctype html><html lang="en"><title>Not done</title><link rel="stylesheet" '
        f'href="/static/style.css"><main><h1>Not done: {fact}</h1>'
        f"<p>{hint}: {link}</p></main>",
        status,
    )


def _log_in_first() -> Response:
    challenge = {"WWW-Authenticate": 'Bearer realm="wetread"'}
    return refused(
        401, "a session or a token is needed", "log in, or send a bearer token", challenge
    )

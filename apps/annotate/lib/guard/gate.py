"""The gate that every request passes first: who asks, whence, for what, and how much is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.errors import AnnotateError
from lib.guard.answers import failure_of, unexpected
from lib.guard.attempts import OF_A_NAME, OF_AN_ADDRESS, Attempts
from lib.guard.logins import Logins
from lib.guard.origins import SAFE_METHODS, check_host, check_origin
from lib.guard.people import EVERYBODY, People, Person
from lib.guard.refusals import ForbiddenError, StrangerError, TooLargeError
from lib.guard.table import SMALL_BODY_BYTES, Route, Table
from lib.guard.who import set_current_user
from lib.settings import Settings

COOKIE = "wetread_login"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers would not say either that the login form is ours.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Doorman:
    """Knows the users, who is logged in, and who has failed too often."""

    def __init__(self, settings: Settings) -> None:
        self.people = People(settings.users)
        self.logins = Logins()
        self.names = Attempts(OF_A_NAME)
        self.addresses = Attempts(OF_AN_ADDRESS)

    def log_in(self, name: str, token: str, address: str) -> str:
        """The id of a new login. Raises StrangerError, or TooManyError after many failures."""
        self.names.check(name)
        self.addresses.check(address)
        person = self.people.with_token(token, name)
        if person is None:
            self.names.failed(name)
            self.addresses.failed(address)
            raise StrangerError("the name or the token is wrong", hint="try again")
        self.names.forget(name)
        return self.logins.begin(person.name)

    def bearer(self, secret: str, address: str) -> Person:
        """By a login or by a token; see `log_in`. A login holds however often others failed."""
        person = self.logged_in(secret)
        if person is not None:
            return person
        self.addresses.check(address)
        person = self.people.with_token(secret)
        if person is None:
            self.addresses.failed(address)
            raise StrangerError("the token is wrong or has ended", hint="log in again")
        return person

    def logged_in(self, login: str) -> Person | None:
        """Whose login it is."""
        name = self.logins.name_of(login)
        return self.people.named(name) if name is not None else None


@dataclass
class _Passing:
    """What the gate found out of a request."""

    route: Route
    person: Person


class Gate:
    """ASGI middleware: whatever it does not let through has no effect."""

    def __init__(self, app: ASGIApp, settings: Settings, table: Table, doorman: Doorman) -> None:
        self._app = app
        self._settings = settings
        self._table = table
        self._doorman = doorman

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answering = _Answering(send)
        try:
            connection = HTTPConnection(scope)
            passing = self._pass(scope["method"], connection)
            limit = self._settings.max_upload_bytes if passing.route.upload else SMALL_BODY_BYTES
            body = _Body(receive, connection.headers, limit)
            set_current_user(passing.person.name)
            scope.setdefault("state", {})["person"] = passing.person
            await self._app(scope, body.receive, answering.send)
        except AnnotateError as error:
            await answering.instead(self._refusal(scope, error), scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the border: nothing is to leave as a traceback
            await answering.instead(unexpected(error), scope, receive)

    def _pass(self, method: str, connection: HTTPConnection) -> _Passing:
        path = connection.scope["path"]
        people, headers = self._doorman.people, connection.headers
        if not people:
            check_host(headers)
        public = self._table.is_public(method, path)
        by_cookie = False
        person = EVERYBODY
        if people and not public:
            person, by_cookie = self._caller(connection)
        if method not in SAFE_METHODS and (public or by_cookie or not people):
            check_origin(headers, self._settings.origins, must_tell=by_cookie)
        route = self._table.find(method, path)
        if route.role is not None and not person.may(route.role):
            raise ForbiddenError(
                f"{person.name} is {person.role}, and {method} {path[:200]} needs {route.role}",
                hint="an admin gives roles, in the settings",
            )
        return _Passing(route, person)

    def _caller(self, connection: HTTPConnection) -> tuple[Person, bool]:
        """Who it is, and whether a cookie says so, which a browser sends by itself."""
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._doorman.bearer(secret.strip(), address_of(connection)), False
        person = self._doorman.logged_in(connection.cookies.get(COOKIE, ""))
        if person is None:
            raise StrangerError(
                "this needs a user", hint="log in at /login, or send Authorization: Bearer TOKEN"
            )
        return person, True

    def _refusal(self, scope: Scope, error: AnnotateError) -> Response:
        """A browser that opens a page is led to the login."""
        accept = HTTPConnection(scope).headers.get("accept", "")
        if isinstance(error, StrangerError) and scope["method"] == "GET" and "text/html" in accept:
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(login_page(scope["path"], query), 303)
        return failure_of(error)


def login_page(path: str, query: str) -> str:
    """The address of the login that leads on to a page of the viewer or of the work."""
    if not path.startswith(("/ohif/", "/work")):
        return "/login"
    return "/login?next=" + quote(f"{path}?{query}" if query else path, safe="/")


def address_of(connection: HTTPConnection) -> str:
    """Of the client; a proxy on this machine tells it."""
    return connection.client.host if connection.client else ""


class _Body:
    """A body that ends in TooLargeError; what Content-Length says is believed only if too much."""

    def __init__(self, receive: Receive, headers: Mapping[str, str], limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0
        told = headers.get("content-length", "")
        if told.isdecimal() and int(told) > limit:
            raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            # FastAPI lets this one out of the parsing of a body.
            error = self._too_large()
            raise HTTPException(413, error.message) from error
        return message

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is over {self._limit} bytes", hint="send less at a time")


class _Answering:
    """Adds the headers that every answer has, unless it has its own."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    async def instead(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Unless an answer has begun: then the connection is all that is left to end."""
        if self._started:
            raise ConnectionError("the answer broke off")
        await response(scope, receive, self.send)

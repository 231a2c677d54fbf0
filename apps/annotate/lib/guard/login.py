"""Logging in: a page for browsers, and a token for 3D Slicer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Form, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from lib.errors import NotThereError
from lib.guard.gate import COOKIE, Doorman, address_of
from lib.guard.page import escaped, page
from lib.guard.people import ANNOTATOR, Person
from lib.guard.refusals import GuardError

NEXT, WORK = "/ohif/", "/work"
STYLE = """
body { max-width: 24em; margin: 15vh auto; }
h1 { margin-bottom: .6em; }
label, input, button { display: block; width: 100%; }
input, button { padding: .5em; margin: .3em 0 1em; }
"""
FORM = """{message}
<form method="post" action="/login">
<input type="hidden" name="next" value="{onward}">
<label>Name <input name="username" autocomplete="username" required autofocus></label>
<label>Token
<input name="password" type="password" autocomplete="current-password" required></label>
<button class="first">Log in</button>
</form>"""
INSIDE = """<p>You are logged in as {name}. <a href="/ohif/">To the viewer</a>{work}</p>
<form method="post" action="/logout"><button>Log out</button></form>"""
Field = Annotated[str, Form(max_length=500)]


async def show(request: Request, next: str = NEXT) -> Response:  # noqa: A002
    """The form, or the way out; without users there is nothing to log in to."""
    doorman = _doorman(request)
    if not doorman.people:
        return RedirectResponse(NEXT, 303)
    person = doorman.logged_in(request.cookies.get(COOKIE, ""))
    if person is not None:
        work = ' · <a href="/work">To the work</a>' if person.may(ANNOTATOR) else ""
        return _page(INSIDE.format(name=escaped(person.name), work=work))
    return _form("", next)


async def log_in(
    request: Request,
    username: Field,
    password: Field,
    next: Field = NEXT,  # noqa: A002
) -> Response:
    """Sets the cookie, which scripts cannot read and other sites cannot send, and leads on."""
    doorman = _doorman(request)
    try:
        login = doorman.log_in(username, password, address_of(request))
    except GuardError as error:
        return _form(f"{error.message}: {error.hint}", next, error)
    answer = RedirectResponse(local(next), 303)
    answer.set_cookie(
        COOKIE,
        login,
        max_age=round(doorman.logins.seconds),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


async def log_out(request: Request) -> Response:
    """Ends the login here, not in the browser only."""
    _doorman(request).logins.end(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def is_enabled(request: Request) -> dict[str, Any]:
    """Slicer asks whether it must log in. Raises NotThereError if it need not."""
    if not _doorman(request).people:
        raise NotThereError("this server has no users", hint="ask without a token")
    return {"enabled": True, "client_id": "wetread", "realm": "wetread"}


async def token(request: Request, username: Field, password: Field) -> JSONResponse:
    """A login for Slicer, which asks for a name and a password: the token is the password."""
    doorman = _doorman(request)
    if not doorman.people:
        raise NotThereError("this server has no users", hint="ask without a token")
    login = doorman.log_in(username, password, address_of(request))
    return JSONResponse(
        {
            "access_token": login,
            "token_type": "bearer",
            "expires_in": round(doorman.logins.seconds),
        }
    )


async def who(request: Request) -> dict[str, Any]:
    """Whose token it is."""
    person: Person = request.state.person
    return {"username": person.name, "email": None, "name": person.name, "roles": [person.role]}


def local(onward: str) -> str:
    """A page of the viewer or of the work; whatever leads elsewhere is left out."""
    fine = onward.startswith((NEXT, WORK)) and onward.isprintable() and "\\" not in onward
    return onward if fine else NEXT


def _form(message: str, onward: str, error: GuardError | None = None) -> HTMLResponse:
    shown = f'<p class="wrong" role="alert">{escaped(message)}</p>' if message else ""
    content = FORM.format(message=shown, onward=escaped(local(onward)))
    return _page(content, error.status if error else 200, error.headers if error else None)


def _page(
    content: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    return page("log in", f"<h1>Annotate</h1>\n{content}", STYLE, status, headers)


def _doorman(request: Request) -> Doorman:
    found: Doorman = request.app.state.doorman
    return found

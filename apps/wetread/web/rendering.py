"""Pages from templates: what every page knows, how times and names look, what was just done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from wetread import __version__
from wetread.access.accounts import User
from wetread.access.guard import FORM_FIELD, FORM_HEADER, LIVE_HEADER
from wetread.access.roles import Permission, may
from wetread.errors import WetreadError
from wetread.markup import NOT_FOR_DIAGNOSIS
from wetread.web.actions import Answer
from wetread.web.site import site_of, visitor_of
from wetread.web.views import moment

SAID_COOKIE = "wetread-said"
# Page, its address, what one needs for it.
PAGES = (
    ("Now", "/", Permission.SEE),
    ("Studies", "/studies", Permission.SEE),
    ("Jobs", "/jobs", Permission.SEE),
    ("Deliveries", "/deliveries", Permission.SEE),
    ("Destinations", "/destinations", Permission.SEE),
    ("Models", "/models", Permission.SEE),
    ("Rules", "/rules", Permission.SEE),
    ("Users", "/users", Permission.USERS),
    ("Audit", "/audit", Permission.AUDIT),
)
# How a state looks; its word is always there too.
_TONES = {
    "good": "done delivered read well yes promoted success",
    "bad": "failed dead dead_letter failing no refused serious_failure",
    "busy": "arriving complete queued running reading pending delivering minor_failure",
}
TONES = {word.replace("_", " "): tone for tone, words in _TONES.items() for word in words.split()}
_SHORT_CHARACTERS = 14
_CODE = re.compile("`([^`]+)`")


def _moment(at: datetime) -> str:
    """The time of today, or the day and the minute; in this machine's zone."""
    local = at.astimezone()
    if local.date() == datetime.now().astimezone().date():
        return f"{local:%H:%M:%S}"
    return f"{local:%Y-%m-%d %H:%M}"


def _exact(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def _zone(at: datetime) -> str:
    offset = at.isoformat()[-6:]
    return "UTC" if f"{at:%Z}" == "UTC" else f"{at:%Z} (UTC{offset})"


def _short(uid: str) -> str:
    """The end of a UID, by which two of one place differ."""
    return uid if len(uid) <= _SHORT_CHARACTERS + 1 else f"…{uid[-_SHORT_CHARACTERS:]}"


def _marked(text: str) -> Markup:
    """What stands between backticks, such as a command, as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    made = Environment(
        loader=loader, autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    made.globals.update(version=__version__, not_for_diagnosis=NOT_FOR_DIAGNOSIS, tones=TONES)
    made.filters.update(moment=_moment, exact=_exact, short=_short, zone=_zone)
    made.filters.update(marked=_marked, from_seconds=moment)
    return made


_TEMPLATES = _environment()


def page(request: Request, template: str, *, status: int = 200, **facts: Any) -> HTMLResponse:
    """A page, with what was just done by the one who asks."""
    visitor = visitor_of(request)
    user, said = visitor.user, request.cookies.get(SAID_COOKIE)
    common = {
        "user": user,
        "may": lambda name: user is not None and may(user.role, Permission(name)),
        "pages": [each for each in PAGES if user is not None and may(user.role, each[2])],
        "path": request.url.path,
        "here": _here(request),
        "form_field": FORM_FIELD,
        "form_token": visitor.form_token,
        "headers": json.dumps({FORM_HEADER: visitor.form_token}),
        "live_headers": json.dumps({LIVE_HEADER: "1"}),
        "as_of": datetime.now().astimezone(),
        "said": json.loads(unquote(said)) if said else None,
        "listener": site_of(request).config.listener,
    }
    text = _TEMPLATES.get_template(template).render(**{**common, **facts})
    response = HTMLResponse(text, status)
    if said:
        response.delete_cookie(SAID_COOKIE, path="/")
    return response


def _here(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def safe_path(path: str) -> str:
    """A path of this server, whatever a link or a form says."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"


def done(request: Request, back: str, do: Callable[[], Answer]) -> Response:
    """Do it, then say on the page that one came from what came of it."""
    said = told(do)
    if "hx-request" in request.headers:
        return page(request, "said.html", said=said)
    response = RedirectResponse(safe_path(back), 303)
    secure = site_of(request).config.web.is_secure
    response.set_cookie(
        SAID_COOKIE, quote(json.dumps(said)), 30, httponly=True, samesite="lax", secure=secure
    )
    return response


def told(do: Callable[[], Answer]) -> dict[str, str]:
    """What came of it: a message, or an error with its hint."""
    try:
        return asdict(do())
    except WetreadError as error:
        return {"error": error.message, "hint": error.hint}


def signed_in(request: Request) -> User:
    """Who the guard let through, on a path that is not open."""
    user = visitor_of(request).user
    assert user is not None  # noqa: S101 - the guard's promise
    return user

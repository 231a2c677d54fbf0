"""The application: routes behind the guard, and errors in words."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from wetread import __version__
from wetread.access.guard import API, LOGIN, Door, Guard
from wetread.access.hashing import new_secret
from wetread.access.headers import secure_headers
from wetread.errors import (
    AccessError,
    DeliveryError,
    InputError,
    LedgerError,
    RoutingError,
    WetreadError,
)
from wetread.httpd import addresses, refused
from wetread.markup import PALETTE
from wetread.viewer.settings import address_of
from wetread.web import api, live, login, pages
from wetread.web.rendering import page
from wetread.web.site import OPEN_PATHS, Site, check_routes

_STATIC = Path(__file__).with_name("static")
_STATUS: dict[type[WetreadError], int] = {
    LedgerError: 409,
    AccessError: 409,
    InputError: 422,
    RoutingError: 422,
    DeliveryError: 502,
}
_PROVIDER_SECONDS = 600


def web_app(site: Site) -> ASGIApp:
    """The dashboard and its API, behind the guard."""
    config, viewer = site.config.web, site.config.viewer
    door = Door(
        browsers=site.browsers,
        tokens=site.tokens,
        limits=site.limits,
        addresses=addresses(
            config.host, config.port, config.public_url, tls=config.certificate_file is not None
        ),
        open_paths=OPEN_PATHS,
        headers=secure_headers(
            is_secure=config.is_secure, viewer=address_of(viewer) if viewer.studies else ""
        ),
        max_body_bytes=config.max_upload_bytes,
    )
    return Guard(_application(site, door), door)


def _application(site: Site, door: Door) -> FastAPI:
    app = FastAPI(
        title="wetread",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.site, app.state.door = site, door
    for each in (api, live, login, pages):
        app.router.routes.extend(each.router.routes)
    app.add_api_route(
        f"{API}openapi.json", app.openapi, include_in_schema=False, dependencies=[api.SEE]
    )
    style = PALETTE + (_STATIC / "style.css").read_text(encoding="utf-8")

    def sheet() -> Response:
        return Response(style, media_type="text/css")

    app.add_api_route("/static/style.css", sheet, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=_STATIC))
    # Holds what the provider must send back, for as long as somebody logs in there.
    app.add_middleware(
        SessionMiddleware,
        secret_key=new_secret(),
        session_cookie="wetread-provider",
        max_age=_PROVIDER_SECONDS,
        same_site="lax",
        https_only=door.is_secure,
        path=LOGIN,
    )
    app.add_exception_handler(WetreadError, _explained)
    app.add_exception_handler(HTTPException, _explained)
    app.add_exception_handler(RequestValidationError, _explained)
    check_routes(app)
    return app


async def _explained(request: Request, error: Exception) -> Response:
    status, fact, hint = _words(error)
    if request.url.path.startswith(API):
        return refused(status, fact, hint)
    return page(request, "nothing.html", status=status, error={"message": fact, "hint": hint})


def _words(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, WetreadError):
        # A book that does not answer has the database's own error behind it.
        silent = isinstance(error, LedgerError) and error.__cause__ is not None
        known = next((_STATUS[each] for each in type(error).__mro__ if each in _STATUS), 500)
        return 503 if silent else known, error.message, error.hint
    if isinstance(error, HTTPException):
        hint = "ask an admin for another role" if error.status_code == 403 else ""
        return error.status_code, str(error.detail), hint
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    places = "; ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in faults
    )
    return 422, places, "see /api/openapi.json"

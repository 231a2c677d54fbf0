"""Coming in and going out."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from wetread.access.accounts import User
from wetread.access.guard import LOGIN, Door, Visitor
from wetread.access.hashing import LEAST_CHARACTERS, MOST_CHARACTERS, new_secret
from wetread.access.limits import LOGIN_MINUTES
from wetread.access.roles import Permission
from wetread.errors import AccessError, WetreadError
from wetread.web.api import actions_of
from wetread.web.rendering import done, page, safe_path, told
from wetread.web.site import Needs, site_of, visitor_of

log = structlog.get_logger()
BACK = f"{LOGIN}/provider/back"
_NEXT = "wetread_next"

router = APIRouter(include_in_schema=False)
Anybody = Annotated[User, Depends(Needs(Permission.SEE))]


def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


@router.get("/health")
def health() -> dict[str, str]:
    """It answers."""
    return {"status": "ok"}


@router.get(LOGIN)
def ask(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """The form, tied to this browser by a cookie."""
    visitor = visitor_of(request)
    if visitor.user is not None:
        return RedirectResponse(safe_path(next), 303)
    return _form(request, next)


def _form(request: Request, back: str, error: str = "", status: int = 200) -> Response:
    visitor, secret = visitor_of(request), ""
    if not visitor.secret:
        secret = new_secret()
        request.state.visitor = Visitor(None, visitor.address, secret)
    site = site_of(request)
    provider = site.config.web.oidc.label if site.config.web.oidc else ""
    facts = {"next": safe_path(back), "error": error, "provider": provider}
    response = page(request, "login.html", status=status, **facts)
    if secret:
        door = _door(request)
        response.set_cookie(
            door.visit_cookie, secret, httponly=True, samesite="lax", secure=door.is_secure
        )
    return response


@router.post(LOGIN)
def come_in(
    request: Request,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """By name and password."""
    site, address = site_of(request), visitor_of(request).address
    if not site.limits.may_try(name, address):
        log.warning("too many log-ins", from_=address)
        text = f"Too many tries. Wait {LOGIN_MINUTES} minutes."
        return _form(request, next, text, 429)
    user = site.accounts.log_in(name, password)
    if user is None:
        # Not the name: somebody may have typed the password there.
        log.warning("log-in refused", from_=address)
        return _form(request, next, "Wrong name or password.", 401)
    site.limits.succeeded(name)
    return _let_in(request, user, next)


def _let_in(request: Request, user: User, back: str) -> Response:
    site, door = site_of(request), _door(request)
    log.info("logged in", user=user.name, from_=visitor_of(request).address)
    response = RedirectResponse(safe_path(back), 303)
    secret = site.sessions.open(user.name)
    response.set_cookie(
        door.session_cookie, secret, httponly=True, samesite="lax", secure=door.is_secure
    )
    response.delete_cookie(door.visit_cookie, path="/", secure=door.is_secure)
    return response


@router.post("/logout")
def go_out(request: Request, user: Anybody) -> Response:
    """End the session."""
    site_of(request).sessions.close(visitor_of(request).secret)
    log.info("logged out", user=user.name)
    response = RedirectResponse(LOGIN, 303)
    door = _door(request)
    response.delete_cookie(door.session_cookie, path="/", secure=door.is_secure)
    return response


@router.get(f"{LOGIN}/provider")
async def go_to_provider(
    request: Request,
    next: str = "/",  # noqa: A002
) -> Response:
    """To the OpenID provider."""
    provider = site_of(request).provider
    if provider is None:
        raise HTTPException(404, "no provider is set")
    request.session[_NEXT] = safe_path(next)
    door = _door(request)
    try:
        return await provider.begin(request, door.addresses[request.headers["host"]] + BACK)
    except AccessError as error:
        return _refused(request, error)


@router.get(BACK)
async def come_back(request: Request) -> Response:
    """From the OpenID provider."""
    site = site_of(request)
    if site.provider is None:
        raise HTTPException(404, "no provider is set")
    back = str(request.session.get(_NEXT, "/"))
    try:
        who = await site.provider.end(request)
        user = await run_in_threadpool(site.accounts.vouched, who.subject, who.name, who.role)
    except AccessError as error:
        return _refused(request, error)
    finally:
        request.session.clear()
    return await run_in_threadpool(_let_in, request, user, back)


def _refused(request: Request, error: WetreadError) -> Response:
    log.warning("log-in at the provider refused", reason=error.message)
    return _form(request, "/", f"{error.message}. {error.hint}", 401)


@router.get("/password")
def account(request: Request, user: Anybody) -> Response:
    """The user's own page: password and tokens."""
    return _account(request, user)


def _account(request: Request, user: User, **facts: Any) -> Response:
    tokens = site_of(request).tokens.list(user.name)
    return page(
        request,
        "account.html",
        tokens=tokens,
        least=LEAST_CHARACTERS,
        most=MOST_CHARACTERS,
        **facts,
    )


@router.post("/password")
def change(
    request: Request,
    user: Anybody,
    old: Annotated[str, Form()] = "",
    new: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:
    """The user's own password; all its sessions end, and this browser gets another one."""
    site = site_of(request)
    if new != again:
        return _account(request, user, error="The two new passwords differ.")
    if not site.limits.may_try(user.name, visitor_of(request).address):
        return _account(request, user, error=f"Too many tries. Wait {LOGIN_MINUTES} minutes.")
    try:
        answer = actions_of(request).change_password(user, old, new)
    except WetreadError as error:
        return _account(request, user, error=f"{error.message}. {error.hint}")
    if answer is None:
        return _account(request, user, error="That is not your password.")
    site.limits.succeeded(user.name)
    return _let_in(request, user, "/")


@router.post("/password/tokens")
def make_token(
    request: Request,
    user: Anybody,
    label: Annotated[str, Form()] = "",
    days: Annotated[float, Form(ge=0)] = 90.0,
) -> Response:
    """One of the user's own; its secret is on this page and nowhere else."""
    act = actions_of(request)
    said = told(lambda: act.make_token(user, label, days))
    return _account(request, user, said=said)


@router.post("/password/tokens/revoke")
def revoke_token(request: Request, user: Anybody, label: Annotated[str, Form()] = "") -> Response:
    """One of the user's own."""
    act = actions_of(request)
    return done(request, "/password", lambda: act.revoke_token(user.name, label))

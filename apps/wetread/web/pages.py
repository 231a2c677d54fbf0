"""The pages, as a person sees what /api tells a program."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from wetread.access.guard import LIVE_HEADER, VIEWER
from wetread.access.roles import Role
from wetread.audit.events import log_used, viewed
from wetread.errors import LedgerError, WetreadError
from wetread.ledger import DeliveryState, JobState
from wetread.viewer.settings import address_of
from wetread.web import queries
from wetread.web.api import ACT, AUDIT, SEE, TEST, USERS, Act, TheSite, try_uploaded
from wetread.web.audit import audit_rows
from wetread.web.rendering import done, page, safe_path, told
from wetread.web.rules import rule_rows
from wetread.web.steps import steps_of

router = APIRouter(include_in_schema=False)
Back = Annotated[str, Form()]
_SHOWN = 100


@router.get("/", dependencies=[SEE])
def now(request: Request, site: TheSite) -> Response:
    """What is under way, and what needs a person."""
    return page(request, "now.html", now=queries.now(site))


@router.get("/studies", dependencies=[SEE])
def studies(request: Request, site: TheSite, uid: str = "") -> Response:
    """Those that came last; with a UID, that one."""
    if uid.strip():
        return RedirectResponse(f"/studies/{uid.strip()}", 303)
    return page(request, "studies.html", studies=queries.studies(site, _SHOWN))


@router.get("/studies/{study}", dependencies=[SEE])
def study(request: Request, site: TheSite, study: str) -> Response:
    """One study's way."""
    try:
        found = queries.study_details(site, study)
    except LedgerError as error:
        return page(request, "nothing.html", status=404, error=error)
    if LIVE_HEADER not in request.headers:
        site.ledger.trail.record(viewed(study))
    return page(request, "study.html", found=found, steps=steps_of(found))


@router.post("/studies/{study}/complete", dependencies=[ACT])
def complete(request: Request, act: Act, study: str, back: Back = "/") -> Response:
    """End the wait for more instances."""
    return done(request, back, lambda: act.complete_study(study))


@router.get(VIEWER, dependencies=[SEE])
def viewer(site: TheSite, to: str = "/") -> Response:
    """On to the viewer, at that path: it sends browsers here to log in."""
    if not site.config.viewer.studies:
        raise HTTPException(404, "there is no viewer: viewer.studies names no archive")
    return RedirectResponse(address_of(site.config.viewer) + safe_path(to), 303)


@router.get("/jobs", dependencies=[SEE])
def jobs(request: Request, site: TheSite, state: JobState | None = None) -> Response:
    """Newest first."""
    found = queries.jobs(site, state, None, _SHOWN)
    return page(request, "jobs.html", jobs=found, state=state, states=list(JobState), limit=_SHOWN)


@router.get("/jobs/{job_id}", dependencies=[SEE])
def job(request: Request, site: TheSite, job_id: str) -> Response:
    """One job."""
    try:
        found = queries.job_details(site, job_id)
    except LedgerError as error:
        return page(request, "nothing.html", status=404, error=error)
    return page(request, "job.html", found=found)


@router.post("/jobs/{job_id}/retry", dependencies=[ACT])
def retry_job(request: Request, act: Act, job_id: str, back: Back = "/jobs") -> Response:
    """As a new attempt."""
    return done(request, back, lambda: act.retry_job(job_id))


@router.post("/jobs/{job_id}/cancel", dependencies=[ACT])
def cancel_job(request: Request, act: Act, job_id: str, back: Back = "/jobs") -> Response:
    """Stop it."""
    return done(request, back, lambda: act.cancel_job(job_id))


@router.get("/deliveries", dependencies=[SEE])
def deliveries(
    request: Request,
    site: TheSite,
    state: DeliveryState | None = None,
    destination: str = "",
) -> Response:
    """Newest first; dead letters can be sent again."""
    found = queries.deliveries(site, state, destination or None, _SHOWN)
    return page(
        request,
        "deliveries.html",
        deliveries=found,
        state=state,
        states=list(DeliveryState),
        destination=destination,
        limit=_SHOWN,
    )


@router.post("/deliveries/retry", dependencies=[ACT])
def retry_all(
    request: Request, act: Act, destination: Annotated[str, Form()] = "", back: Back = "/deliveries"
) -> Response:
    """Every dead letter, or those to one destination."""
    return done(request, back, lambda: act.retry_dead_letters(destination or None))


@router.post("/deliveries/{delivery_id}/retry", dependencies=[ACT])
def retry_delivery(
    request: Request, act: Act, delivery_id: str, back: Back = "/deliveries"
) -> Response:
    """The same bytes."""
    return done(request, back, lambda: act.retry_delivery(delivery_id))


@router.post("/deliveries/{delivery_id}/cancel", dependencies=[ACT])
def cancel_delivery(
    request: Request, act: Act, delivery_id: str, back: Back = "/deliveries"
) -> Response:
    """Give it up."""
    return done(request, back, lambda: act.cancel_delivery(delivery_id))


@router.get("/destinations", dependencies=[SEE])
def destinations(request: Request, site: TheSite) -> Response:
    """Where results go, and how that fares."""
    return page(request, "destinations.html", destinations=queries.destinations_of(site))


@router.post("/destinations/{name}/test", dependencies=[TEST])
def check_destination(
    request: Request, act: Act, name: str, back: Back = "/destinations"
) -> Response:
    """Ask it whether it is there."""
    return done(request, back, lambda: act.test_destination(name))


@router.get("/models", dependencies=[SEE])
def models(request: Request, site: TheSite) -> Response:
    """Versions, figures, promotions."""
    return page(request, "models.html", models=queries.models_of(site))


@router.get("/rules", dependencies=[SEE])
def rules(request: Request, site: TheSite) -> Response:
    """The rules and their tester."""
    return page(
        request, "rules.html", rules=rule_rows(site.config), match=site.config.routing.match
    )


@router.post("/rules/test", dependencies=[TEST])
async def check_rules(request: Request, site: TheSite) -> Response:
    """The verdict on an uploaded study."""
    try:
        decisions = await try_uploaded(request, site)
    except WetreadError as error:
        return page(request, "verdict.html", error=error, decisions=())
    return page(request, "verdict.html", error=None, decisions=decisions)


@router.get("/audit", dependencies=[AUDIT])
def audit(request: Request, site: TheSite, study: str = "", before: int = 0) -> Response:
    """Who did what, newest first; to look is an event, too."""
    trail = site.ledger.trail
    events = audit_rows(trail.newest(before=before, study=study.strip(), limit=_SHOWN))
    trail.record(log_used())
    return page(request, "audit.html", events=events, study=study.strip(), limit=_SHOWN)


@router.get("/users", dependencies=[USERS])
def users(request: Request, site: TheSite) -> Response:
    """Who may come in."""
    return _users(request, site)


def _users(request: Request, site: TheSite, said: dict[str, str] | None = None) -> Response:
    facts: dict[str, Any] = {"said": said} if said else {}
    return page(
        request,
        "users.html",
        users=site.accounts.list(),
        tokens=site.tokens.list(),
        roles=list(Role),
        **facts,
    )


@router.post("/users", dependencies=[USERS])
def add_user(
    request: Request,
    site: TheSite,
    act: Act,
    name: Annotated[str, Form()] = "",
    role: Annotated[Role, Form()] = Role.VIEWER,
) -> Response:
    """With a password for the first log-in, which is on this page and nowhere else."""
    return _users(request, site, told(lambda: act.add_user(name, role)))


@router.post("/users/{name}/role", dependencies=[USERS])
def set_role(request: Request, act: Act, name: str, role: Annotated[Role, Form()]) -> Response:
    """Another role."""
    return done(request, "/users", lambda: act.set_role(name, role))


@router.post("/users/{name}/password", dependencies=[USERS])
def reset_password(request: Request, site: TheSite, act: Act, name: str) -> Response:
    """A password for the next log-in, which is on this page and nowhere else."""
    return _users(request, site, told(lambda: act.reset_password(name)))


@router.post("/users/{name}/remove", dependencies=[USERS])
def remove_user(request: Request, act: Act, name: str) -> Response:
    """With sessions and tokens."""
    return done(request, "/users", lambda: act.remove_user(name))


@router.post("/users/{name}/tokens/revoke", dependencies=[USERS])
def revoke_token(
    request: Request, act: Act, name: str, label: Annotated[str, Form()] = ""
) -> Response:
    """End a token."""
    return done(request, "/users", lambda: act.revoke_token(name, label))

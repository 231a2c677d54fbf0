"""The JSON API under /api; /api/openapi.json describes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from wetread.access.accounts import User
from wetread.access.keys import Token
from wetread.access.roles import Permission, Role
from wetread.audit.events import log_used, viewed
from wetread.errors import AccessError, LedgerError
from wetread.ledger import DeliveryState, JobState
from wetread.web import queries
from wetread.web.actions import Actions, Answer
from wetread.web.audit import AuditRow, audit_rows
from wetread.web.places import DestinationRow, ModelRow
from wetread.web.rules import RuleRow, StudyDecision, rule_rows, try_rules
from wetread.web.site import Needs, Site, site_of, visitor_of
from wetread.web.views import DeliveryRow, JobRow, StudyRow

Found = TypeVar("Found")
MAX_FILES = 20_000

SEE, TEST, ACT = (Depends(Needs(Permission[each])) for each in ("SEE", "TEST", "ACT"))
AUDIT, USERS = Depends(Needs(Permission.AUDIT)), Depends(Needs(Permission.USERS))


def actions_of(request: Request) -> Actions:
    """What the one who asks may change."""
    return Actions(site_of(request), visitor_of(request))


TheSite = Annotated[Site, Depends(site_of)]
Act = Annotated[Actions, Depends(actions_of)]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
Uid = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$", description="Its Study Instance UID.")]


@dataclass(frozen=True, slots=True)
class NewUser:
    """Somebody who may come in."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class NewRole:
    """Of a user."""

    role: Role


@dataclass(frozen=True, slots=True)
class NewToken:
    """What it is for; 0 days is for ever."""

    label: str
    days: float = 90.0


def found(get: Callable[[str], Found], name: str) -> Found:
    """What `get` gives. Raises HTTPException 404 if there is none of that name."""
    try:
        return get(name)
    except (AccessError, LedgerError) as error:
        if error.__cause__ is not None:
            raise
        raise HTTPException(404, error.message) from error


async def try_uploaded(request: Request, site: Site) -> tuple[StudyDecision, ...]:
    """What the rules say of the files in a form. Raises as `try_rules`."""
    async with request.form(max_files=MAX_FILES) as form:
        files = [each for each in form.getlist("files") if isinstance(each, UploadFile)]
        pairs = [(each.filename, each.file) for each in files if each.filename]
        caller = str(form.get("calling_ae_title") or "")
        return await run_in_threadpool(try_rules, pairs, site.config, caller)


router = APIRouter(prefix="/api")


@router.get("/now", dependencies=[SEE])
def now(site: TheSite) -> queries.Now:
    """What is under way, and what needs a person."""
    return queries.now(site)


@router.get("/studies", dependencies=[SEE])
def studies(site: TheSite, limit: Limit = 100) -> tuple[StudyRow, ...]:
    """The studies that came last."""
    return queries.studies(site, limit)


@router.get("/studies/{study}", dependencies=[SEE])
def study(site: TheSite, study: Uid) -> queries.StudyDetails:
    """One study, from its first instance to the last delivery."""
    told = found(lambda uid: queries.study_details(site, uid), study)
    site.ledger.trail.record(viewed(study))
    return told


@router.post("/studies/{study}/complete", dependencies=[ACT])
def complete(site: TheSite, act: Act, study: Uid) -> Answer:
    """End the wait for more instances."""
    found(site.ledger.studies.get, study)
    return act.complete_study(study)


@router.get("/jobs", dependencies=[SEE])
def jobs(
    site: TheSite, state: JobState | None = None, study: str | None = None, limit: Limit = 100
) -> tuple[JobRow, ...]:
    """Jobs, newest first."""
    return queries.jobs(site, state, study, limit)


@router.get("/jobs/{job_id}", dependencies=[SEE])
def job(site: TheSite, job_id: str) -> queries.JobDetails:
    """One job with its results and deliveries."""
    return found(lambda each: queries.job_details(site, each), job_id)


@router.post("/jobs/{job_id}/retry", dependencies=[ACT])
def retry_job(site: TheSite, act: Act, job_id: str) -> Answer:
    """Read again, as a new attempt with new UIDs."""
    found(site.ledger.jobs.get, job_id)
    return act.retry_job(job_id)


@router.post("/jobs/{job_id}/cancel", dependencies=[ACT])
def cancel_job(site: TheSite, act: Act, job_id: str) -> Answer:
    """A queued one now, a running one at its next step."""
    found(site.ledger.jobs.get, job_id)
    return act.cancel_job(job_id)


@router.get("/deliveries", dependencies=[SEE])
def deliveries(
    site: TheSite,
    state: DeliveryState | None = None,
    destination: str | None = None,
    limit: Limit = 100,
) -> tuple[DeliveryRow, ...]:
    """Deliveries, newest first; `dead` ones wait for a retry."""
    return queries.deliveries(site, state, destination, limit)


@router.post("/deliveries/retry", dependencies=[ACT])
def retry_dead_letters(act: Act, destination: str | None = None) -> Answer:
    """Send every dead letter again, or those to one destination."""
    return act.retry_dead_letters(destination)


@router.post("/deliveries/{delivery_id}/retry", dependencies=[ACT])
def retry_delivery(site: TheSite, act: Act, delivery_id: str) -> Answer:
    """Send a dead letter again, with the same bytes."""
    found(site.ledger.deliveries.get, delivery_id)
    return act.retry_delivery(delivery_id)


@router.post("/deliveries/{delivery_id}/cancel", dependencies=[ACT])
def cancel_delivery(site: TheSite, act: Act, delivery_id: str) -> Answer:
    """Give up one that waits or is dead."""
    found(site.ledger.deliveries.get, delivery_id)
    return act.cancel_delivery(delivery_id)


@router.get("/destinations", dependencies=[SEE])
def destinations(site: TheSite) -> tuple[DestinationRow, ...]:
    """Where results go, and how that fares."""
    return queries.destinations_of(site)


@router.post("/destinations/{name}/test", dependencies=[TEST])
def check_destination(site: TheSite, act: Act, name: str) -> Answer:
    """Ask it whether it is there: a C-ECHO, a search, a connection, or a look at the folder."""
    if name not in site.config.destinations:
        raise HTTPException(404, f"no destination {name!r}")
    return act.test_destination(name)


@router.get("/models", dependencies=[SEE])
def models(site: TheSite) -> tuple[ModelRow, ...]:
    """The models with their versions and figures."""
    return queries.models_of(site)


@router.get("/rules", dependencies=[SEE])
def rules(site: TheSite) -> tuple[RuleRow, ...]:
    """The rules, in the order in which they are looked at."""
    return rule_rows(site.config)


@router.post(
    "/rules/test",
    dependencies=[TEST],
    openapi_extra={
        "requestBody": {
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "files": {
                                "type": "array",
                                "items": {"type": "string", "format": "binary"},
                            },
                            "calling_ae_title": {"type": "string"},
                        },
                    }
                }
            }
        }
    },
)
async def check_rules(request: Request, site: TheSite) -> tuple[StudyDecision, ...]:
    """Which rule takes which series of a study, and why; nothing of it stays."""
    return await try_uploaded(request, site)


@router.get("/audit", dependencies=[AUDIT])
def audit(
    site: TheSite, after: Annotated[int, Query(ge=0)] = 0, study: str = "", limit: Limit = 100
) -> tuple[AuditRow, ...]:
    """The audit trail after the event of that number, oldest first; to have it is an event, too."""
    site.ledger.trail.record(log_used())
    return audit_rows(site.ledger.trail.read(after=after, study=study, limit=limit))


@router.get("/users", dependencies=[USERS])
def users(site: TheSite) -> tuple[User, ...]:
    """Who may come in."""
    return site.accounts.list()


@router.post("/users", dependencies=[USERS])
def add_user(act: Act, new: NewUser) -> Answer:
    """A user, with a password for the first log-in as the secret."""
    return act.add_user(new.name, new.role)


@router.put("/users/{name}/role", dependencies=[USERS])
def set_role(site: TheSite, act: Act, name: str, new: NewRole) -> Answer:
    """Another role."""
    found(site.accounts.get, name)
    return act.set_role(name, new.role)


@router.post("/users/{name}/password", dependencies=[USERS])
def reset_password(site: TheSite, act: Act, name: str) -> Answer:
    """A new password for the next log-in, as the secret."""
    found(site.accounts.get, name)
    return act.reset_password(name)


@router.delete("/users/{name}", dependencies=[USERS])
def remove_user(site: TheSite, act: Act, name: str) -> Answer:
    """With sessions and tokens."""
    found(site.accounts.get, name)
    return act.remove_user(name)


@router.get("/tokens", dependencies=[USERS])
def tokens(site: TheSite) -> tuple[Token, ...]:
    """Keys of programs, without their secrets."""
    return site.tokens.list()


@router.delete("/tokens/{user}/{label}", dependencies=[USERS])
def revoke_token(act: Act, user: str, label: str) -> Answer:
    """End a token."""
    return act.revoke_token(user, label)


@router.post("/token")
def make_token(
    act: Act, new: NewToken, user: Annotated[User, Depends(Needs(Permission.SEE))]
) -> Answer:
    """One for who asks, with the same role, as the secret."""
    return act.make_token(user, new.label, new.days)

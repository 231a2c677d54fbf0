"""Who draws what, and what a reviewer says of it: the routes under /work.

Each address answers a browser with a page and a program with JSON; forms and programs send the same
fields.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Form, Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from lib.errors import AnnotateError, NotAllowedError, NotThereError
from lib.guard import work_page
from lib.guard.app import the_app, the_store, the_team
from lib.guard.gate import Doorman
from lib.guard.people import ANNOTATOR, REVIEWER, Person
from lib.guard.refusals import ForbiddenError
from lib.guard.turns import Turns
from lib.people.holds import HOURS, MOST_HOURS, How
from lib.people.reviews import State
from lib.people.work import NOTHING, Work
from lib.stores.safe import safe_id

PAGE_SIZE = 50
Field = Annotated[str, Form(max_length=500)]
Hours = Annotated[float, Form(gt=0, le=MOST_HOURS)]


class Show(StrEnum):
    """Of which images a list is."""

    mine = "mine"
    free = "free"
    review = "review"
    all = "all"


class Verdict(StrEnum):
    """What a reviewer may say."""

    approved = "approved"
    returned = "returned"


def shown(route: Callable[..., Response]) -> Callable[..., Response]:
    """For a browser, a page also where the route fails."""

    @functools.wraps(route)
    def answer(request: Request, **values: Any) -> Response:
        try:
            return route(request, **values)
        except AnnotateError as error:
            if not _wants_page(request):
                raise
            return work_page.problem(error, _person(request))

    return answer


@shown
def overview(
    request: Request,
    show: Show | None = None,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """The images: of an annotator those that are his, of a reviewer all, or what `show` says."""
    person = _person(request)
    chosen = show or (Show.all if person.may(REVIEWER) else Show.mine)
    if chosen in (Show.all, Show.review) and not person.may(REVIEWER):
        raise ForbiddenError(f"show={chosen} needs {REVIEWER}", hint="ask for mine or free")
    images = [each for each in _work().images() if _fits(each, chosen, person.name)]
    first = (page - 1) * PAGE_SIZE
    found = {
        "user": person.name,
        "role": person.role,
        "show": str(chosen),
        "page": page,
        "pages": max(1, -(-len(images) // PAGE_SIZE)),
        "total": len(images),
        "images": images[first : first + PAGE_SIZE],
    }
    return work_page.overview(found, person) if _wants_page(request) else JSONResponse(found)


@shown
def detail(request: Request, image: str) -> Response:
    """One image with its labels; a reviewer sees everybody's and how far they agree.

    An annotator sees his own and what a model proposed: he is to draw without looking at others'.
    """
    person, work = _person(request), _work()
    found = work.image(safe_id(image))
    if person.may(REVIEWER):
        found["agreement"] = work.agreement(image)
    else:
        own = [
            each for each in found["labels"] if person.name == each["annotator"] or _proposed(each)
        ]
        found["labels"] = own
        del found["readers"], found["waiting"]
    if not _wants_page(request):
        return JSONResponse(found)
    return work_page.detail(found, person, _readers(request))


@shown
def assign(
    request: Request,
    image: Field,
    reader: Field,
    hours: Hours = HOURS[How.ASSIGNED],
    next: Field = "",  # noqa: A002 - as in the login's form
) -> Response:
    """Give an image to one more reader. Raises NotThereError for an unknown one."""
    work = _work()
    work.check(safe_id(image))
    if reader not in _readers(request):
        raise NotThereError(
            f"no annotator {reader[:64]!r}", hint=f"known: {', '.join(_readers(request))}"
        )
    hold = work.team.holds.assign(image, reader, _person(request).name, hours)
    return _done(request, hold.as_info(), image, next)


@shown
def take(
    request: Request,
    image: Field,
    hours: Hours = HOURS[How.TAKEN],
    next: Field = "",  # noqa: A002
) -> Response:
    """For oneself. Raises HeldError if it is with somebody else."""
    work = _work()
    work.check(safe_id(image))
    hold = work.team.holds.take(image, _person(request).name, hours)
    return _done(request, hold.as_info(), image, next)


@shown
def release(
    request: Request,
    image: Field,
    reader: Field = "",
    next: Field = "",  # noqa: A002
) -> Response:
    """What one has oneself, or, for a reviewer, what anybody has. Raises ForbiddenError."""
    person = _person(request)
    whose = reader or person.name
    if whose != person.name and not person.may(REVIEWER):
        raise ForbiddenError(
            f"{image[:64]} is with {whose[:64]}", hint=f"a {REVIEWER} may release it"
        )
    the_team().holds.release(safe_id(image), whose)
    return _done(request, {"image": image, "reader": whose}, image, next)


@shown
def review(
    request: Request,
    image: Field,
    label: Field,
    state: Annotated[Verdict, Form()],
    reason: Field = "",
) -> Response:
    """Approve a label, or return it with a reason. Raises as `Work.review`."""
    person = _person(request)
    step = _work().review(safe_id(image), label, State(str(state)), person.name, reason)
    return _done(request, step.as_info(), image)


@shown
def consensus(request: Request, image: Field, bundle: Field = "") -> Response:
    """Make one and store it. It has its turn with the inferences; raises as `make_consensus`."""
    turns: Turns = request.app.state.turns
    if bundle and bundle not in the_app().bundles:
        raise NotAllowedError(f"no bundle {bundle[:64]!r}", hint="see /info/")
    with turns.turn():
        made = _work().make_consensus(safe_id(image), bundle)
    return _done(request, made, image)


def _fits(image: dict[str, Any], show: Show, user: str) -> bool:
    if show == Show.mine:
        holders = {each["reader"] for each in image["holds"]}
        return user in holders or user in image["readers"]
    if show == Show.free:
        return image["state"] in (NOTHING, State.PROPOSED) and not image["holds"]
    return show == Show.all or bool(image["waiting"])


def _proposed(label: dict[str, Any]) -> bool:
    return bool(label["state"] == State.PROPOSED)


def _done(request: Request, said: dict[str, Any], image: str, onward: str = "") -> Response:
    if not _wants_page(request):
        return JSONResponse(said)
    return RedirectResponse(work_page.local(onward) or work_page.address_of(image), 303)


def _work() -> Work:
    return Work(the_store(), the_team(), the_app().bundles)


def _person(request: Request) -> Person:
    person: Person = request.state.person
    return person


def _readers(request: Request) -> list[str]:
    doorman: Doorman = request.app.state.doorman
    return doorman.people.who_may(ANNOTATOR)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")

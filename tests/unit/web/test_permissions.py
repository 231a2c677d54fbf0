"""Every route, asked by nobody and by each role."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI

from wetread.access.guard import API
from wetread.access.roles import Permission, Role, may
from wetread.web.site import OPEN_PATHS, check_routes, permission_of, routes_of

from .conftest import As

# Of the user's own account; everything else that changes something needs an operator or an admin.
OWN = {"/logout", "/password", "/password/tokens", "/password/tokens/revoke", "/api/token"}
NAMES = {Role.VIEWER: "ann", Role.OPERATOR: "bob", Role.ADMIN: "eve"}


def requests_of(application: FastAPI) -> list[tuple[str, str, Permission | None]]:
    """Method, path and what it needs; with names in the paths that nothing has."""
    return [
        (method, route.path.format_map(_Nothing()), permission_of(route))
        for route in routes_of(application)
        for method in sorted(route.methods)
    ]


class _Nothing(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "1.2.999"


def test_without_a_log_in_nothing_is_open_but_the_log_in(application, as_user: As) -> None:
    nobody, came_through = as_user(""), []
    for method, path, needs in requests_of(application):
        answer = nobody.request(method, path)
        if answer.status_code not in (303, 401, 403):
            came_through.append((method, path, needs))
        elif answer.status_code == 303:
            assert answer.headers["location"].startswith("/login?next=")
    assert came_through == [
        ("GET", "/health", None),
        ("GET", "/login", None),
        ("GET", "/login/provider", None),
        ("GET", "/login/provider/back", None),
        ("GET", "/static/style.css", None),
    ]


@pytest.mark.parametrize("role", Role)
def test_a_role_may_what_it_may_and_nothing_else(application, as_user: As, role: Role) -> None:
    """Whether there is what the path names is another question."""
    client = as_user(NAMES[role])
    asked = [
        each for each in requests_of(application) if each[2] and each[1] not in OWN | {"/live"}
    ]
    assert len(asked) > 40
    for method, path, needs in asked:
        answer = client.request(method, path)
        assert (answer.status_code == 403) is not may(role, needs), (method, path, answer.text)
        if answer.status_code == 403 and path.startswith(API):
            assert answer.json()["error"].startswith("this needs the role ")


def test_what_changes_something_needs_more_than_to_see(application) -> None:
    weak = {
        path
        for method, path, needs in requests_of(application)
        if method != "GET" and needs in (None, Permission.SEE)
    }
    assert weak == OWN | {"/login"}


def test_a_route_that_says_not_what_it_needs_stops_the_start() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    router = APIRouter()

    @router.get("/secrets")
    def secrets() -> str:
        return "x"

    app.add_api_route("/forgotten", secrets)
    with pytest.raises(ValueError, match="/forgotten"):
        check_routes(app)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router)
    with pytest.raises(ValueError, match="not what they need"):
        check_routes(app)


def test_what_is_open_is_little() -> None:
    assert OPEN_PATHS == ("/login", "/health", "/static")


def test_the_description_of_the_api_has_every_route_of_it(application, as_user: As) -> None:
    told = as_user("ann").get("/api/openapi.json").json()
    described = {(method.upper(), path) for path, at in told["paths"].items() for method in at}
    assert described == {
        (method, route.path)
        for route in routes_of(application)
        if route.path.startswith(API) and not route.path.endswith("openapi.json")
        for method in route.methods
    }
    silent = [
        at for at in told["paths"].values() for each in at.values() if not each["description"]
    ]
    assert silent == []

"""The guard: who comes through to the application, and what is said to others."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from conftest import Clock
from unit.access.people import ADDRESS, HOUR, People, door_of
from wetread.access.guard import Guard
from wetread.access.hashing import form_token
from wetread.access.roles import Role
from wetread.errors import LedgerError


async def echo(request: Request) -> PlainTextResponse:
    user = request.state.visitor.user
    body = (await request.body()).decode()
    return PlainTextResponse(f"{user.name if user else 'nobody'} {body}".strip())


def client_of(people: People, *, is_secure: bool = False) -> TestClient:
    routes = [Route("/{path:path}", echo, methods=["GET", "POST"])]
    guard = Guard(Starlette(routes=routes), door_of(people, is_secure=is_secure))
    return TestClient(guard, base_url=ADDRESS, follow_redirects=False)


@pytest.fixture
def client(people: People) -> TestClient:
    return client_of(people)


@pytest.fixture
def session(people: People, client: TestClient) -> str:
    """Of ann, whose cookie the client has."""
    secret = people.sessions.open("ann")
    client.cookies.set("wetread", secret)
    return secret


def test_a_page_without_a_session_leads_to_the_log_in_and_back(client: TestClient) -> None:
    answer = client.get("/jobs?state=failed")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fjobs%3Fstate%3Dfailed"


@pytest.mark.parametrize("path", ["/api/jobs", "/api/", "/api/openapi.json"])
def test_the_api_without_a_session_says_what_is_needed(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="wetread"'
    assert answer.json() == {
        "error": "a session or a token is needed",
        "hint": "log in, or send a bearer token",
    }


@pytest.mark.parametrize("path", ["/login", "/login/provider", "/health", "/static/a.css"])
def test_what_is_open_needs_no_user(client: TestClient, path: str) -> None:
    assert client.get(path).text == "nobody"


@pytest.mark.parametrize("path", ["/loginx", "/healthy", "/staticfile", "//login"])
def test_what_only_looks_open_is_not(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 303


def test_a_session_comes_through(client: TestClient, session: str) -> None:
    assert client.get("/jobs").text == "ann"


def test_a_token_comes_through_without_a_form(people: People, client: TestClient) -> None:
    token = people.tokens.make("bob", "ci", None)
    bearer = {"Authorization": f"Bearer {token}"}
    assert client.post("/api/jobs", headers=bearer, content="x").text == "bob x"
    people.tokens.revoke("bob", "ci")
    assert client.post("/api/jobs", headers=bearer).status_code == 401


def test_a_token_that_is_wrong_is_not_helped_by_a_cookie(client: TestClient, session: str) -> None:
    answer = client.post("/api/jobs", headers={"Authorization": "Bearer wetread_x"})
    assert answer.status_code == 401


class TestForms:
    """What a browser sends is taken from our own pages only."""

    def test_with_field_or_header_it_is_taken_and_read_again(self, client, session) -> None:
        ours = {"Origin": ADDRESS}
        field = client.post("/x", headers=ours, data={"form_token": form_token(session)})
        assert field.text == f"ann form_token={form_token(session)}"
        header = {**ours, "X-Form-Token": form_token(session)}
        assert client.post("/x", headers=header, content="y").text == "ann y"

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", ""])
    def test_from_another_origin_it_is_refused(self, client, session, origin) -> None:
        headers = {"Origin": origin, "X-Form-Token": form_token(session)}
        answer = client.post("/x", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (
            403, "only this server's own pages may do this",
        )  # fmt: skip

    def test_without_an_origin_it_is_refused(self, client, session) -> None:
        answer = client.post("/x", headers={"X-Form-Token": form_token(session)})
        assert answer.status_code == 403

    @pytest.mark.parametrize("token", ["", "x", form_token("another session")])
    @pytest.mark.usefixtures("session")
    def test_with_another_token_it_is_refused(self, client, token) -> None:
        answer = client.post("/x", headers={"Origin": ADDRESS}, data={"form_token": token})
        assert (answer.status_code, answer.json()["error"]) == (403, "the form is too old")

    def test_the_log_in_is_tied_to_the_browser_too(self, client) -> None:
        ours = {"Origin": ADDRESS}
        assert client.post("/login", headers=ours, data={"form_token": "x"}).status_code == 403
        client.cookies.set("wetread-visit", "a-visit")
        data = {"form_token": form_token("a-visit")}
        assert client.post("/login", headers=ours, data=data).status_code == 200


def test_another_host_name_is_refused(client: TestClient, session: str) -> None:
    answer = client.get("/jobs", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]) == (
        421, "this server is not 'evil.example'",
    )  # fmt: skip
    assert client.get("/health", headers={"Host": "10.0.0.7:8060"}).status_code == 200


def test_a_page_that_refreshes_itself_does_not_keep_the_session(
    client: TestClient, session: str, clock: Clock
) -> None:
    for _ in range(3):
        clock.advance(0.4 * HOUR)
        answer = client.get("/jobs", headers={"X-Live": "1"})
    assert answer.status_code == 303


def test_a_first_password_must_be_changed_before_anything_else(people: People) -> None:
    people.accounts.add("new", Role.ADMIN, "a b c d e f g h", must_change=True)
    client = client_of(people)
    client.cookies.set("wetread", people.sessions.open("new"))
    assert client.get("/jobs").headers["location"] == "/password"
    assert client.get("/api/jobs").status_code == 403
    assert client.get("/password").text == "new"


def test_who_is_removed_is_out_at_once(people: People, client: TestClient, session: str) -> None:
    people.accounts.remove("ann")
    assert client.get("/jobs").status_code == 303


def test_too_large_and_of_unknown_length_is_refused(client: TestClient, session: str) -> None:
    headers = {"Origin": ADDRESS, "X-Form-Token": form_token(session)}
    assert client.post("/x", headers=headers, content=b"0" * 1_000_001).status_code == 413
    assert client.post("/x", headers=headers, content=iter([b"0"])).status_code == 411


def test_after_300_requests_in_ten_seconds_an_address_must_wait(people: People) -> None:
    door = door_of(people)
    assert sum(door.limits.may_ask("10.0.0.1") for _ in range(310)) == 300
    assert door.limits.may_ask("10.0.0.2")


def test_a_user_has_ten_tries_and_an_address_thirty(people: People) -> None:
    limits = door_of(people).limits
    assert sum(limits.may_try("eve", "10.0.0.1") for _ in range(12)) == 10
    assert not limits.may_try("eve", "10.0.0.2")
    limits.succeeded("eve")
    assert limits.may_try("eve", "10.0.0.2")
    assert sum(limits.may_try(f"user{each}", "10.0.0.1") for each in range(30)) == 18


def test_every_answer_has_the_secure_headers(people: People, client: TestClient) -> None:
    for answer in (client.get("/jobs"), client.get("/login"), client.get("/api/x")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers
    secure = client_of(people, is_secure=True).get("/login")
    assert secure.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_while_the_ledger_is_away_it_says_so(
    people: People, client: TestClient, session: str, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    assert session

    def away(*_: object, **__: object) -> None:
        raise LedgerError("postgresql://wetread@10.0.0.5 refused", hint="is it up?")

    monkeypatch.setattr(type(people.sessions), "user_of", away)
    answer = client.get("/", headers={"Accept": accept})
    assert answer.status_code == 503
    assert "the ledger does not answer" in answer.text
    # Where it is, a stranger need not know.
    assert "10.0.0.5" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"

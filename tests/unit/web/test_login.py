"""Coming in, going out, and one's own password and tokens, by the forms of the pages."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from unit.access.people import PASSWORD
from wetread.access.roles import Role
from wetread.web.site import Site

from .conftest import As

NEW = "a new horse battery"


def form_of(client: TestClient, path: str) -> dict[str, str]:
    """The hidden field that ties the form to the browser."""
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get(path).text)
    assert found
    return {"form_token": found[1]}


def log_in(client: TestClient, name: str, password: str, **more: str):
    data = {**form_of(client, "/login"), "name": name, "password": password, **more}
    return client.post("/login", data=data)


def test_in_to_where_one_wanted_and_out_again(browser: TestClient) -> None:
    answer = log_in(browser, "ann", PASSWORD, next="/jobs?state=failed")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?state=failed")
    cookie = answer.headers["set-cookie"]
    assert "wetread=" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert browser.get("/").status_code == 200
    kept = browser.cookies["wetread"]
    out = browser.post("/logout", data=form_of(browser, "/"))
    assert out.headers["location"] == "/login"
    browser.cookies.set("wetread", kept)
    assert browser.get("/").status_code == 303


def test_each_log_in_has_a_session_of_its_own(browser: TestClient) -> None:
    """A session that somebody planted in the browser is not taken over."""
    browser.cookies.set("wetread", "planted", domain="127.0.0.1")
    answer = log_in(browser, "ann", PASSWORD)
    [secret] = re.findall(r"wetread=([\w-]+);", answer.headers["set-cookie"])
    assert secret != "planted"  # noqa: S105


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", ""]
)
def test_nobody_is_led_elsewhere(browser: TestClient, elsewhere: str) -> None:
    assert log_in(browser, "ann", PASSWORD, next=elsewhere).headers["location"] == "/"


def test_a_wrong_password_and_a_wrong_name_look_alike_and_are_not_logged(browser) -> None:
    with capture_logs() as lines:
        first = log_in(browser, "ann", "my secret secret")
        second = log_in(browser, "my secret secret", PASSWORD)
    assert first.status_code == second.status_code == 401
    assert "Wrong name or password." in first.text
    assert [each["event"] for each in lines] == ["log-in refused", "log-in refused"]
    assert "my secret" not in str(lines)
    assert "my secret" not in first.text + second.text


def test_after_ten_wrong_passwords_even_the_right_one_waits(browser) -> None:
    statuses = [log_in(browser, "ann", "wrong wrong wrong").status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert log_in(browser, "ann", PASSWORD).status_code == 429
    assert log_in(browser, "bob", PASSWORD).status_code == 303


def test_a_first_password_is_changed_before_anything_else(site: Site, browser) -> None:
    first = site.accounts.add("new", Role.OPERATOR, "first first first", must_change=True)
    log_in(browser, first.name, "first first first")
    page = browser.get("/password")
    assert "Choose a password of your own first" in page.text
    assert "Make a token" not in page.text
    data = {**form_of(browser, "/password"), "old": "first first first", "again": NEW}
    same = {**data, "new": "first first first", "again": "first first first"}
    assert "that is the password you have" in browser.post("/password", data=same).text
    assert browser.get("/").headers["location"] == "/password"
    answer = browser.post("/password", data={**data, "new": NEW})
    assert answer.status_code == 303
    assert browser.get("/").status_code == 200


def test_a_password_is_changed_with_the_old_one_only(as_user: As, site: Site) -> None:
    ann = as_user("ann")
    wrong = {"old": "wrong wrong wrong", "new": NEW, "again": NEW}
    assert "That is not your password" in ann.post("/password", data=wrong).text
    typo = {"old": PASSWORD, "new": NEW, "again": NEW + "x"}
    assert "differ" in ann.post("/password", data=typo).text
    short = {"old": PASSWORD, "new": "short", "again": "short"}
    assert "12 to 256 characters, not 5" in ann.post("/password", data=short).text
    assert site.accounts.log_in("ann", PASSWORD)


def test_a_token_is_shown_once(as_user: As, site: Site) -> None:
    bob = as_user("bob")
    made = bob.post("/password/tokens", data={"label": "export", "days": "7"})
    [token] = re.findall(r"<code>(wetread_[\w-]{43})</code>", made.text)
    assert site.tokens.user_of(token) == "bob"
    again = bob.get("/password").text
    assert "export" in again
    assert token not in again
    bob.post("/password/tokens/revoke", data={"label": "export"})
    assert site.tokens.user_of(token) is None


def test_a_token_makes_no_tokens(as_user: As, site: Site) -> None:
    bearer = {"Authorization": f"Bearer {site.tokens.make('eve', 'ci', 1)}"}
    answer = as_user("").post("/api/token", headers=bearer, json={"label": "more"})
    assert (answer.status_code, answer.json()["error"]) == (409, "a token makes no tokens")


def test_where_no_provider_is_set_there_is_none(browser: TestClient) -> None:
    assert browser.get("/login/provider").status_code == 404
    assert browser.get("/login/provider/back?code=x&state=y").status_code == 404


VIEWER = {"studies": "http://127.0.0.1:8042/dicom-web", "public_url": "http://127.0.0.1:8051/"}


def test_a_log_in_leads_on_to_the_viewer_and_nowhere_else(as_user: As, site: Site) -> None:
    ann, to = as_user("ann"), "%2Fsegmentation%3FStudyInstanceUIDs%3D1.2.3"
    assert ann.get(f"/viewer?to={to}").status_code == 404
    shown = site.config.viewer.model_copy(update=VIEWER)
    object.__setattr__(site, "config", site.config.model_copy(update={"viewer": shown}))
    found = ann.get(f"/viewer?to={to}").headers["location"]
    assert found == "http://127.0.0.1:8051/segmentation?StudyInstanceUIDs=1.2.3"
    for elsewhere in ("//evil.example", ".evil.example", "@evil.example", ":1@evil.example"):
        answer = ann.get("/viewer", params={"to": elsewhere})
        assert answer.headers["location"] == "http://127.0.0.1:8051/"

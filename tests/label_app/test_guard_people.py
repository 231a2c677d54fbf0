"""Who may ask the annotation server for what."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from conftest import ROOT
from label_app.guarded import ROLES, label_bytes, token_of

pytestmark = pytest.mark.timeout(120)

# Method, path and the least role; what is asked for does not exist, so that nothing changes.
NEEDS = [
    ("GET", "/auth/token/valid", "user"),
    ("GET", "/", "user"),
    ("GET", "/ohif", "user"),
    ("GET", "/ohif/", "user"),
    ("GET", "/ohif/{path:path}", "user"),
    ("GET", "/proxy/dicom/qido/{path:path}", "user"),
    ("GET", "/proxy/dicom/wado/{path:path}", "user"),
    ("POST", "/proxy/dicom/wado/{path:path}", "annotator"),
    ("GET", "/info/", "user"),
    ("POST", "/infer/{model}", "user"),
    ("POST", "/activelearning/{strategy_name}", "annotator"),
    ("GET", "/work", "annotator"),
    ("GET", "/work/image", "annotator"),
    ("POST", "/work/take", "annotator"),
    ("POST", "/work/release", "annotator"),
    ("POST", "/work/assign", "reviewer"),
    ("POST", "/work/review", "reviewer"),
    ("POST", "/work/consensus", "reviewer"),
    ("PUT", "/session/", "user"),
    ("GET", "/session/{session_id}", "user"),
    ("DELETE", "/session/{session_id}", "user"),
    ("GET", "/datastore/", "user"),
    ("PUT", "/datastore/", "annotator"),
    ("DELETE", "/datastore/", "admin"),
    ("GET", "/datastore/image", "user"),
    ("HEAD", "/datastore/image", "user"),
    ("PUT", "/datastore/image", "annotator"),
    ("DELETE", "/datastore/image", "admin"),
    ("GET", "/datastore/image/info", "user"),
    ("PUT", "/datastore/image/info", "reviewer"),
    ("GET", "/datastore/label", "user"),
    ("HEAD", "/datastore/label", "user"),
    ("PUT", "/datastore/label", "annotator"),
    ("DELETE", "/datastore/label", "admin"),
    ("GET", "/datastore/label/info", "user"),
    ("PUT", "/datastore/label/info", "reviewer"),
    ("PUT", "/datastore/updatelabelinfo", "reviewer"),
    ("GET", "/datastore/dataset", "reviewer"),
    ("GET", "/train/", "user"),
    ("POST", "/train/", "admin"),
    ("POST", "/train/{model}", "admin"),
    ("DELETE", "/train/", "admin"),
    ("GET", "/scoring/", "user"),
    ("POST", "/scoring/", "reviewer"),
    ("POST", "/scoring/{method}", "reviewer"),
    ("DELETE", "/scoring/", "reviewer"),
    ("GET", "/batch/infer", "user"),
    ("POST", "/batch/infer/{model}", "reviewer"),
    ("DELETE", "/batch/infer", "reviewer"),
    ("GET", "/logs/", "reviewer"),
    ("GET", "/model/{model}", "admin"),
    ("GET", "/model/info/{model}", "admin"),
    ("PUT", "/model/{model}", "admin"),
    ("DELETE", "/model/{model}", "admin"),
]
PUBLIC = [
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/auth/"),
    ("POST", "/auth/token"),
]
CLOSED = [
    ("POST", "/reload"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/static/ohif/index.html"),
    ("GET", "/logs/gpu"),
    ("POST", "/infer/wsi/tiny_pair"),
    ("POST", "/infer/wsi_v2/tiny_pair"),
    ("PATCH", "/datastore/label"),
    ("GET", "/proxy/dicom/stow/studies"),
    ("GET", "/proxy/anything"),
    ("TRACE", "/info/"),
]


def path_of(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "no_such", template)


def log_in(guard, name: str, token: str, **headers: str):
    return guard.client.post("/login", data={"username": name, "password": token}, headers=headers)


@pytest.fixture
def cookie(guard):
    """Of an annotator who logged in in a browser."""
    answer = log_in(guard, "annotator", token_of("annotator"))
    guard.client.cookies.clear()
    return {"Cookie": f"wetread_login={answer.cookies['wetread_login']}"}


@pytest.fixture
def own_origin(guard):
    return {"Origin": guard.annotating.server.url}


class TestRoles:
    def test_the_table_here_is_that_of_the_server(self):
        """A route that is added without a test of its role fails here."""
        text = (ROOT / "apps/annotate/lib/guard/routes.py").read_text(encoding="utf-8")
        written = re.findall(r'Route\("(\w+)", "([^"]+)", (\w+),', text)
        assert {(method, path, role.lower()) for method, path, role in written} == {
            *NEEDS,
            *((method, path, "none") for method, path in PUBLIC),
        }

    @pytest.mark.parametrize(("method", "path", "least"), NEEDS)
    def test_each_route_is_for_its_role_and_those_above(self, guard, method, path, least):
        strangers = guard.ask(None, method, path_of(path))
        answers = {role: guard.ask(role, method, path_of(path)).status_code for role in ROLES}
        assert strangers.status_code == 401
        assert {role for role, status in answers.items() if status != 403} == set(
            ROLES[ROLES.index(least) :]
        )
        assert 401 not in answers.values()
        assert not {status for status in answers.values() if status >= 500}

    @pytest.mark.parametrize(("method", "path"), CLOSED)
    def test_what_is_not_in_the_table_is_not_there(self, guard, method, path):
        assert guard.ask(None, method, path).status_code == 401
        assert guard.ask("admin", method, path).status_code in (404, 405)

    def test_a_person_without_the_role_is_told_which_one(self, guard):
        answer = guard.ask("user", "GET", "/logs/")
        assert answer.status_code == 403
        assert answer.json()["error"] == "user is user, and GET /logs/ needs reviewer"


class TestTokens:
    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Bearer garbage", f"Basic {token_of('admin')}", "Bearer a.b.c"],
    )
    def test_anything_but_a_token_of_a_user_is_refused(self, guard, header):
        answer = guard.client.get("/info/", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["hint"]

    def test_a_hash_is_no_token(self, guard):
        [user, *_] = guard.annotating.server.settings.users
        answer = guard.client.get(
            "/info/", headers={"Authorization": f"Bearer {user.token_sha256}"}
        )
        assert answer.status_code == 401

    def test_slicer_logs_in_with_name_and_token(self, guard):
        """As its client does: is there a login, a token for the password, is it valid."""
        assert guard.client.get("/auth/").json()["enabled"] is True
        given = guard.client.post(
            "/auth/token",
            data={
                "username": "reviewer",
                "password": token_of("reviewer"),
                "grant_type": "password",
            },
        ).json()
        header = {"Authorization": f"{given['token_type']} {given['access_token']}"}
        who = guard.client.get("/auth/token/valid", headers=header).json()
        assert (who["username"], who["roles"]) == ("reviewer", ["reviewer"])
        assert guard.client.get("/logs/", headers=header).status_code == 200
        assert given["access_token"] != token_of("reviewer")

    @pytest.mark.parametrize("name", ["annotator", "nobody"])
    def test_a_token_of_another_user_logs_nobody_in(self, guard, name):
        data = {"username": name, "password": token_of("admin")}
        assert guard.client.post("/auth/token", data=data).status_code == 401

    def test_who_drew_a_label_is_who_sent_it(self, guard):
        """And not whom the request names."""
        answer = guard.ask(
            "reviewer",
            "PUT",
            "/datastore/label",
            params={"image": "first", "tag": "original"},
            data={"params": '{"model": "tiny_pair", "client_id": "somebody else"}'},
            files={"label": ("label.nii.gz", label_bytes())},
        )
        assert answer.status_code == 200, answer.text
        info = guard.ask(
            "user", "GET", "/datastore/label/info", params={"label": "first", "tag": "original"}
        )
        assert info.json()["annotator"] == "reviewer"


class TestBrowsers:
    def test_a_page_of_the_viewer_leads_to_the_login_and_back(self, guard):
        place = "/ohif/viewer?StudyInstanceUIDs=1.2"
        sent = guard.client.get(place, headers={"Accept": "text/html"})
        assert sent.status_code == 303
        assert sent.headers["location"] == f"/login?next={quote(place, safe='/')}"
        page = guard.client.get(sent.headers["location"])
        assert f'name="next" value="{place}"' in page.text
        data = {"username": "user", "password": token_of("user"), "next": place}
        back = guard.client.post("/login", data=data)
        guard.client.cookies.clear()
        assert (back.status_code, back.headers["location"]) == (303, place)

    @pytest.mark.parametrize(
        "elsewhere", ["//evil.example/ohif/", "https://evil.example/", "/\\evil", "/ohif/\r\nA: b"]
    )
    def test_the_login_leads_nowhere_else(self, guard, elsewhere):
        data = {"username": "user", "password": token_of("user"), "next": elsewhere}
        back = guard.client.post("/login", data=data)
        guard.client.cookies.clear()
        assert back.headers["location"] == "/ohif/"

    def test_the_cookie_is_for_this_server_alone(self, guard):
        """Scripts do not see it, other sites do not send it, and it is not the token."""
        answer = log_in(guard, "user", token_of("user"))
        guard.client.cookies.clear()
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert token_of("user") not in cookie

    def test_behind_tls_the_cookie_is_for_tls(self, guard):
        answer = log_in(guard, "user", token_of("user"), **{"X-Forwarded-Proto": "https"})
        guard.client.cookies.clear()
        assert "Secure" in answer.headers["set-cookie"]

    def test_the_cookie_reads_and_writes_from_a_page_of_ours(self, guard, cookie, own_origin):
        assert guard.client.get("/info/", headers=cookie).status_code == 200
        answer = guard.client.post(
            "/activelearning/random", json={}, headers={**cookie, **own_origin}
        )
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Origin": "null"},
            {"Origin": "https://evil.example"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
        ],
    )
    def test_the_cookie_changes_nothing_for_a_page_of_another_site(self, guard, cookie, headers):
        """Also if that page is on this machine, on another port."""
        answer = guard.client.post("/activelearning/random", json={}, headers={**cookie, **headers})
        assert answer.status_code == 403
        assert "asks for a change" in answer.json()["error"]

    def test_nobody_is_logged_in_by_another_site(self, guard):
        answer = log_in(guard, "user", token_of("user"), Origin="https://evil.example")
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers

    def test_who_is_logged_in_is_shown_and_can_leave(self, guard, cookie, own_origin):
        """The login ends in the server, not in the browser only."""
        page = guard.client.get("/login", headers=cookie)
        assert "You are logged in as annotator" in page.text
        left = guard.client.post("/logout", headers={**cookie, **own_origin})
        guard.client.cookies.clear()
        assert left.headers["location"] == "/login"
        assert guard.client.get("/info/", headers=cookie).status_code == 401

    def test_a_wrong_token_is_said_on_the_page(self, guard):
        answer = log_in(guard, "user", "<script>")
        assert answer.status_code == 401
        assert "the name or the token is wrong" in answer.text
        assert "<script>" not in answer.text

    def test_the_login_page_runs_and_loads_nothing(self, guard):
        policy = guard.client.get("/login").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy


class TestGuessing:
    def test_a_name_is_refused_for_a_while_after_many_failures(self, guard):
        """Also with the right token then; others of that address are not."""
        other = {"X-Forwarded-For": "203.0.113.1"}
        statuses = [log_in(guard, "admin", "wrong", **other).status_code for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        refused = log_in(guard, "admin", token_of("admin"), **other)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 300
        assert log_in(guard, "user", token_of("user"), **other).status_code == 303
        guard.client.cookies.clear()

    def test_an_address_is_refused_but_for_those_who_are_logged_in(self, guard):
        other = {"X-Forwarded-For": "203.0.113.2"}
        inside = guard.client.post(
            "/auth/token",
            data={"username": "user", "password": token_of("user")},
            headers=other,
        ).json()["access_token"]
        for number in range(30):
            guessed = {"Authorization": f"Bearer guess {number}", **other}
            assert guard.client.get("/info/", headers=guessed).status_code == 401
        token = {"Authorization": f"Bearer {token_of('user')}", **other}
        refused = guard.client.get("/info/", headers=token)
        assert refused.status_code == 429
        assert "wait" in refused.json()["hint"]
        kept = {"Authorization": f"Bearer {inside}", **other}
        assert guard.client.get("/info/", headers=kept).status_code == 200

"""The dashboard as a server: over TLS, behind a proxy, with an OpenID provider, and its end."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher

from network.neighbours import free_port, write_certificate
from unit.access.people import PASSWORD
from unit.access.provider import LoopbackProvider
from wetread.access import hashing
from wetread.access.roles import Role
from wetread.config import Config, parse_config
from wetread.errors import ConfigError
from wetread.httpd import HttpServer
from wetread.web.server import Dashboard


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A good hash takes long on purpose."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(hashing, "_HASHER", quick)


def settings(folder: Path, **web: Any) -> Config:
    document = {
        "spool": {"path": "spool", "min_free_bytes": 0},
        "web": {"port": free_port(), "refresh_seconds": 0.1, **web},
    }
    return parse_config(document, source=folder / "wetread.toml")


def log_in(client: httpx.Client, url: str) -> httpx.Response:
    page = client.get(f"{url}/login").text
    [token] = re.findall(r'name="form_token" value="(\w+)"', page)
    data = {"name": "ann", "password": PASSWORD, "form_token": token}
    return client.post(f"{url}/login", data=data, headers={"Origin": url})


def test_over_tls_cookies_are_for_this_host_and_tls_alone(tmp_path: Path) -> None:
    key, certificate = write_certificate(tmp_path)
    config = settings(tmp_path, certificate_file=str(certificate), key_file=str(key))
    trust = ssl.create_default_context(cafile=str(certificate))
    with Dashboard(config) as dashboard, httpx.Client(verify=trust, trust_env=False) as client:
        dashboard.site.accounts.add("ann", Role.VIEWER, PASSWORD)
        assert dashboard.address.startswith("https://127.0.0.1:")
        answer = log_in(client, dashboard.address)
        assert answer.status_code == 303
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        [cookie] = [
            each for each in answer.headers.get_list("set-cookie") if "__Host-wetread=" in each
        ]
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert client.get(f"{dashboard.address}/").status_code == 200
        with pytest.raises(httpx.TransportError):
            client.get(dashboard.address.replace("https", "http"))


def test_a_certificate_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    broken = {"certificate_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    dashboard = Dashboard(settings(tmp_path, **broken))
    with pytest.raises(ConfigError, match="web: the certificate cannot be used"):
        dashboard.start()
    dashboard.stop()


def test_who_asks_through_a_proxy_is_known_by_its_word_alone(tmp_path: Path) -> None:
    """A limit for one is then none for all; a stranger's word counts for nothing."""
    for proxies, expected in ((["127.0.0.1"], "10.0.0.7"), ([], "127.0.0.1")):
        config = settings(tmp_path, proxies=proxies)
        with Dashboard(config) as dashboard:
            asked: list[str] = []
            dashboard.site.limits.may_ask = lambda who, asked=asked: bool(asked.append(who)) or True
            forwarded = {"X-Forwarded-For": "10.0.0.7"}
            httpx.get(f"{dashboard.address}/health", headers=forwarded, trust_env=False)
            assert asked == [expected]


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    port = free_port()
    found = LoopbackProvider(f"http://127.0.0.1:{port}")
    found.claims = {"preferred_username": "kim", "groups": ["radiology"]}
    server = HttpServer(found.app(), "127.0.0.1", port, name="provider")
    server.start()
    yield found
    server.stop(10)


def test_a_user_of_the_provider_comes_in_with_the_role_that_it_has_there(
    tmp_path: Path, provider: LoopbackProvider
) -> None:
    oidc = {"issuer": provider.issuer, "client_id": "wetread", "operator": "radiology"}
    with (
        Dashboard(settings(tmp_path, oidc=oidc)) as dashboard,
        httpx.Client(follow_redirects=True, trust_env=False) as browser,
    ):
        url = dashboard.address
        page = browser.get(f"{url}/rules")
        assert page.url.path == "/login"
        assert "Log in by single sign-on" in page.text
        page = browser.get(f"{url}/login/provider?next=/rules")
        assert (page.status_code, page.url.path) == (200, "/rules")
        kim = dashboard.site.accounts.get("kim")
        assert (kim.role, kim.subject) == (Role.OPERATOR, f"{provider.issuer} 17")
        assert provider.asked["redirect_uri"] == f"{url}/login/provider/back"
        assert "your password is changed there" in browser.get(f"{url}/password").text
    assert kim.name in {each.name for each in dashboard.site.accounts.list()}


def test_whom_the_provider_gives_no_role_stays_out(
    tmp_path: Path, provider: LoopbackProvider
) -> None:
    oidc = {"issuer": provider.issuer, "client_id": "wetread", "admin": "it"}
    with (
        Dashboard(settings(tmp_path, oidc=oidc)) as dashboard,
        httpx.Client(follow_redirects=True, trust_env=False) as browser,
    ):
        page = browser.get(f"{dashboard.address}/login/provider")
        assert page.status_code == 401
        assert "has no role for wetread" in page.text
        assert [each.name for each in dashboard.site.accounts.list()] == ["admin"]


def test_open_streams_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """News come while one looks; when the gateway ends, so do they."""
    dashboard = Dashboard(settings(tmp_path))
    dashboard.start()
    dashboard.site.accounts.add("ann", Role.VIEWER, PASSWORD)
    token = dashboard.site.tokens.make("ann", "script", None)
    came: list[str] = []
    heard = threading.Event()

    def listen() -> None:
        bearer = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", f"{dashboard.address}/live", headers=bearer, timeout=30) as answer:
            for line in answer.iter_lines():
                came.append(line)
                if line.startswith("event"):
                    heard.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert heard.wait(20)
    began = time.monotonic()
    dashboard.stop()
    listener.join(20)
    assert not listener.is_alive()
    # Uvicorn would wait ten seconds for an answer that does not end.
    assert time.monotonic() - began < 8
    # What changed between the page and this stream would be missed without it.
    assert came[:3] == ["retry: 2000", "", "event: changed"]

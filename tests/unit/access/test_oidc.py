"""Logging in at a real provider on loopback: code, PKCE, signature, nonce, and the role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from network.neighbours import free_port
from unit.access.provider import LoopbackProvider
from wetread.access.oidc import Provider
from wetread.config import OidcConfig
from wetread.errors import AccessError, ConfigError
from wetread.httpd import HttpServer


@pytest.fixture(scope="module")
def provider() -> Iterator[LoopbackProvider]:
    port = free_port()
    found = LoopbackProvider(f"http://127.0.0.1:{port}")
    server = HttpServer(found.app(), "127.0.0.1", port, name="provider")
    server.start()
    yield found
    server.stop(10)


@pytest.fixture(autouse=True)
def _honest(provider: LoopbackProvider) -> None:
    provider.claims = {"preferred_username": "kim", "groups": ["staff", "radiology"]}
    provider.changes, provider.wants, provider.by_another_key = {}, "", False


def settings(provider: LoopbackProvider, **changes: Any) -> OidcConfig:
    given = {"issuer": provider.issuer, "client_id": "wetread", "operator": ("radiology",)}
    return OidcConfig(**{**given, "viewer": ("staff",), "admin": ("it",), **changes})


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture
def log_in(provider: LoopbackProvider, port: int) -> Iterator[Any]:
    """Goes the whole way with a browser's cookies; gives what the last page says."""
    opened: list[HttpServer] = []

    def go(config: OidcConfig, end: str = "") -> str:
        asked = Provider(config)

        async def begin(request: Request) -> Response:
            try:
                return await asked.begin(request, f"http://127.0.0.1:{port}/back")
            except AccessError as error:
                return PlainTextResponse(f"{error}")

        async def back(request: Request) -> Response:
            try:
                who = await asked.end(request)
            except AccessError as error:
                return PlainTextResponse(f"{error}")
            return PlainTextResponse(f"{who.name} {who.role} {who.subject}")

        routes = [Route("/", begin), Route("/back", back)]
        kept = Middleware(SessionMiddleware, secret_key="x")  # noqa: S106
        app = Starlette(routes=routes, middleware=[kept])
        server = HttpServer(app, "127.0.0.1", port, name="web")
        server.start()
        opened.append(server)
        with httpx.Client(follow_redirects=True, trust_env=False) as browser:
            return browser.get(end or f"http://127.0.0.1:{port}/").text

    yield go
    for server in opened:
        server.stop(10)


def test_who_comes_back_has_the_highest_role_of_the_claims(provider, log_in) -> None:
    assert log_in(settings(provider)) == f"kim operator {provider.issuer} 17"
    assert provider.asked["code_challenge_method"] == "S256"
    assert provider.asked["scope"] == "openid profile"


def test_a_claim_may_be_one_text(provider, log_in) -> None:
    provider.claims = {"upn": "kim@hospital", "role": "it"}
    config = settings(provider, name_claim="upn", role_claim="role")
    assert log_in(config) == f"kim@hospital admin {provider.issuer} 17"


def test_a_client_with_a_secret_shows_it(provider, log_in, tmp_path: Path) -> None:
    provider.wants = "s3cret"
    (tmp_path / "secret").write_text("s3cret\n")
    config = settings(provider, client_secret_file=tmp_path / "secret")
    assert log_in(config).startswith("kim operator")


def test_without_its_secret_it_is_refused(provider, log_in) -> None:
    provider.wants = "s3cret"
    assert log_in(settings(provider)).endswith("failed: invalid_grant")


@pytest.mark.parametrize(
    ("claims", "lacking"),
    [
        ({"preferred_username": "kim", "groups": ["kitchen"]}, "kim of .* has no role"),
        ({"preferred_username": "kim"}, "kim of .* has no role"),
        ({"groups": ["staff"]}, "a user of .* has no preferred_username"),
    ],
)
def test_who_has_no_role_or_name_stays_out(provider, log_in, claims, lacking) -> None:
    provider.claims = claims
    assert re.match(lacking, log_in(settings(provider)))


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "another"},
        {"aud": "another client"},
        {"iss": "https://another.example"},
        {"exp": 1_000},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_word_that_does_not_hold_is_refused(provider, log_in, lie) -> None:
    provider.changes = lie
    assert "failed: " in log_in(settings(provider))


def test_a_signature_by_another_key_is_refused(provider, log_in) -> None:
    provider.by_another_key = True
    assert log_in(settings(provider)).endswith("failed: BadSignatureError")


def test_a_provider_that_calls_itself_otherwise_is_refused(provider, log_in) -> None:
    provider.changes = {"issuer": "https://another.example"}
    assert log_in(settings(provider)).startswith("the provider calls itself 'https://another")


def test_who_comes_back_without_having_left_is_refused(provider, log_in, port) -> None:
    """As another site would send somebody, with a code of its own."""
    said = log_in(settings(provider), end=f"http://127.0.0.1:{port}/back?code=a%20code&state=x")
    assert "failed: " in said


def test_a_secret_that_cannot_be_read_is_told_by_its_file(provider, tmp_path: Path) -> None:
    config = settings(provider, client_secret_file=tmp_path / "gone")
    with pytest.raises(ConfigError, match="gone: No such file"):
        Provider(config)

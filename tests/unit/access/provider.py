"""An OpenID Connect provider on loopback that signs with a key of its own, and lies as told."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)


@dataclass
class LoopbackProvider:
    """`claims` is what it says of the user; `changes` and another key make its word a lie."""

    issuer: str
    claims: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    by_another_key: bool = False
    asked: dict[str, str] = field(default_factory=dict)
    wants: str = ""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    async def _metadata(self, _: Request) -> JSONResponse:
        return JSONResponse(
            {
                "issuer": self.changes.get("issuer", self.issuer),
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["none", "HS256", "RS256"],
            }
        )

    async def _authorize(self, request: Request) -> RedirectResponse:
        """Its user needs no password."""
        self.asked = dict(request.query_params)
        back = {"code": "a code", "state": self.asked["state"]}
        return RedirectResponse(f"{self.asked['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> JSONResponse:
        form = await request.form()
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        pair = base64.b64encode(f"wetread:{self.wants}".encode()).decode()
        known = not self.wants or request.headers.get("authorization") == f"Basic {pair}"
        if challenge != self.asked["code_challenge"] or form["code"] != "a code" or not known:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.asked["client_id"],
            "sub": "17",
            "nonce": self.asked["nonce"],
            "iat": now,
            "exp": now + 60,
            **self.claims,
            **self.changes,
        }
        token = jwt.encode(
            {"alg": "RS256", "kid": "1"}, claims, OTHER_KEY if self.by_another_key else KEY
        )
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": token})

    async def _keys(self, _: Request) -> JSONResponse:
        return JSONResponse({"keys": [KEY.as_dict(private=False)]})

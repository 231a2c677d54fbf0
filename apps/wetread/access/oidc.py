"""Logging in at an OpenID Connect provider: authorization code with PKCE, by Authlib."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from wetread.access.roles import Role
from wetread.config import OidcConfig
from wetread.errors import AccessError
from wetread.files import secret_in

# Signatures that only the provider can make.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the provider has sent: `subject` names one person for ever, `name` is for people."""

    subject: str
    name: str
    role: Role


class Provider:
    """The provider that the settings name. Nothing is asked of it before somebody logs in."""

    def __init__(self, config: OidcConfig) -> None:
        """Raises ConfigError if the file with the secret cannot be read."""
        self._config = config
        secret = secret_in(config.client_secret_file, "web.oidc.client_secret_file")
        self._client: Any = OAuth().register(
            "provider",
            server_metadata_url=f"{config.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_id=config.client_id,
            client_secret=secret or None,
            client_kwargs={
                "scope": " ".join(config.scopes),
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
                "timeout": _TIMEOUT_SECONDS,
            },
        )

    async def begin(self, request: Request, back: str) -> Response:
        """Send the browser to the provider, which sends it `back`; the session holds the state.

        Raises AccessError if the provider does not answer.
        """
        try:
            await self._check_metadata()
            response: Response = await self._client.authorize_redirect(request, back)
        except (httpx.HTTPError, OAuthError, ValueError, KeyError) as error:
            raise self._no_answer(error) from error
        return response

    async def end(self, request: Request) -> Vouched:
        """Who came back. Raises AccessError if the provider's word does not hold, or the user has
        no role."""
        try:
            await self._check_metadata()
            token = await self._client.authorize_access_token(request)
        except (httpx.HTTPError, OAuthError, JoseError, ValueError, KeyError) as error:
            raise self._no_answer(error) from error
        claims = token.get("userinfo") or {}
        role = self._role(claims)
        name = str(claims.get(self._config.name_claim) or "")
        if role is None or not name:
            lacking = "role" if role is None else self._config.name_claim
            raise AccessError(
                f"{name or 'a user'} of {self._config.issuer} has no {lacking} for wetread",
                hint="web.oidc says which values of its claims are which role",
            )
        return Vouched(f"{self._config.issuer} {claims['sub']}", name, role)

    async def _check_metadata(self) -> None:
        metadata = await self._client.load_server_metadata()
        if metadata.get("issuer") != self._config.issuer:
            raise AccessError(
                f"the provider calls itself {metadata.get('issuer')!r}, "
                f"not {self._config.issuer!r}",
                hint="set web.oidc.issuer to what it calls itself",
            )
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        kept = [each for each in offered if each in _ALGORITHMS]
        metadata["id_token_signing_alg_values_supported"] = kept or ["RS256"]

    def _role(self, claims: dict[str, Any]) -> Role | None:
        found = claims.get(self._config.role_claim)
        values = {found} if isinstance(found, str) else set(_texts(found))
        for role in reversed(Role):
            if values & set(getattr(self._config, role)):
                return role
        return None

    def _no_answer(self, error: Exception) -> AccessError:
        # What it says may hold a code or a token: only the kind of error is told.
        kind = error.error if isinstance(error, OAuthError) else type(error).__name__
        return AccessError(
            f"logging in at {self._config.issuer} failed: {kind}",
            hint="try again; then ask who runs it",
        )


def _texts(found: object) -> Iterable[str]:
    if not isinstance(found, list | tuple):
        return ()
    return (each for each in found if isinstance(each, str))

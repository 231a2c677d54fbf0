"""The tables of the dashboard and its API in wetread.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from wetread.config.base import Names, PositiveSeconds, Section

_HERE = ("127.0.0.1", "localhost", "::1")


class OidcConfig(Section):
    """An OpenID Connect provider that users log in at.

    Whose `role_claim` has one of the values in `admin` is an admin, else of `operator` an operator,
    else of `viewer` a viewer; others may not come in.
    """

    issuer: Annotated[str, Field(pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/]).*$")]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret_file: Path | None = None
    label: str = "single sign-on"
    scopes: Names = ("openid", "profile")
    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    viewer: Names = ()
    operator: Names = ()
    admin: Names = ()


class WebConfig(Section):
    """The dashboard and its API. Beyond this machine only over TLS, its own or a proxy's.

    `public_url` is where browsers reach it, if not at its host and port; `proxies` are addresses
    whose word on who asks is taken.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8060
    public_url: Annotated[str, Field(pattern=r"^(https?://[^/]+/?)?$")] = ""
    certificate_file: Path | None = None
    key_file: Path | None = None
    proxies: Names = ()
    session_hours: Annotated[float, Field(gt=0)] = 12.0
    idle_minutes: Annotated[float, Field(gt=0)] = 60.0
    max_upload_bytes: Annotated[int, Field(gt=0)] = 2_000_000_000
    refresh_seconds: PositiveSeconds = 1.0
    oidc: OidcConfig | None = None

    @property
    def is_secure(self) -> bool:
        """Whether browsers speak TLS with it."""
        return self.certificate_file is not None or self.public_url.startswith("https://")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        seen = self.host not in _HERE or bool(self.public_url)
        if self.enabled and seen and not self.is_secure:
            raise ValueError(
                "passwords would cross the network in the clear: set certificate_file and "
                "key_file, or the https public_url of a proxy, or listen on 127.0.0.1"
            )
        if self.enabled and self.host in ("0.0.0.0", "::") and not self.public_url:  # noqa: S104
            raise ValueError("say in public_url by which name browsers reach it")
        return self

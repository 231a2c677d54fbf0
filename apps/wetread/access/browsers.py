"""Which user a browser is, by the session that began at the dashboard's log-in.

Browsers keep a cookie by host name, not by port, so every server of that name may ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from sqlalchemy import Engine
from starlette.datastructures import Headers

from wetread.access.accounts import Accounts, User
from wetread.access.keys import Sessions
from wetread.config import WebConfig
from wetread.errors import AccessError
from wetread.httpd import address


@dataclass(frozen=True, slots=True)
class Browsers:
    """`dashboard` is the address where they log in."""

    accounts: Accounts
    sessions: Sessions
    dashboard: str

    @classmethod
    def of(cls, config: WebConfig, engine: Engine, clock: Callable[[], float]) -> Browsers:
        """Of the dashboard with these settings."""
        sessions = Sessions(
            engine,
            clock,
            lasts_seconds=config.session_hours * 3600,
            idle_seconds=config.idle_minutes * 60,
        )
        tls = config.certificate_file is not None
        dashboard = config.public_url.rstrip("/") or address(config.host, config.port, tls=tls)
        return cls(Accounts(engine, clock), sessions, dashboard)

    @property
    def is_secure(self) -> bool:
        """Whether the dashboard is reached over TLS."""
        return self.dashboard.startswith("https://")

    @property
    def session_cookie(self) -> str:
        """Its name; browsers take this prefix over TLS only, for one host."""
        return "__Host-wetread" if self.is_secure else "wetread"

    def user_of(self, headers: Headers, *, used: bool = True) -> tuple[User | None, str]:
        """The user, and the session's secret. `used` says that a person has done something."""
        secret = cookies_of(headers).get(self.session_cookie, "")
        name = self.sessions.user_of(secret, used=used) if secret else None
        return self.named(name), secret

    def named(self, name: str | None) -> User | None:
        """The user of that name, unless removed since."""
        if name is None:
            return None
        try:
            return self.accounts.get(name)
        except AccessError:
            return None


def cookies_of(headers: Headers) -> dict[str, str]:
    """The cookies of a request, by name."""
    try:
        return {name: each.value for name, each in SimpleCookie(headers.get("cookie")).items()}
    except CookieError:
        return {}

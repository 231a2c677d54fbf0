"""Whether a request comes from where it says: other sites, and names that lead here by a trick."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from lib.guard.refusals import ForbiddenError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def check_host(headers: Mapping[str, str]) -> None:
    """For a server without users: the Host must be this machine itself, on any port.

    A page of a stranger whose name was made to lead to 127.0.0.1 still sends its own name.

    Raises ForbiddenError.
    """
    host = headers.get("host", "")
    if _host_name(host) not in _LOOPBACK:
        raise ForbiddenError(
            f"the request is for {host[:80]!r}, and this server has no users",
            hint="ask 127.0.0.1 or localhost, or name users in the settings",
        )


def check_origin(headers: Mapping[str, str], allowed: Collection[str], *, must_tell: bool) -> None:
    """For a request that changes something: no page of another site may have sent it.

    Programs send neither Origin nor Sec-Fetch-Site; with `must_tell`, which is for requests that a
    cookie vouches for, one of them must be there.

    Raises ForbiddenError.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is None:
        fine = site == "same-origin" or (site in (None, "none") and not must_tell)
    else:
        fine = origin in allowed or _is_own(origin, headers.get("host", ""))
    if not fine:
        raise ForbiddenError(
            f"a page of {(origin or site or 'an unknown site')[:80]} asks for a change",
            hint="only pages of this server may; a proxy before it must pass on the Host header, "
            "and other sites are named in label.origins",
        )


def _is_own(origin: str, host: str) -> bool:
    """By name and port only: before a proxy with TLS, the scheme here is not the browser's."""
    return bool(host) and origin.partition("://")[2].lower() == host.lower()


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""

"""What every answer tells the browser about itself."""

from __future__ import annotations

from collections.abc import Mapping

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'{viewer}; frame-ancestors 'none'"
)
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # With no-referrer, browsers would hide from us that a form is ours.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_ONE_YEAR = "max-age=31536000"


def secure_headers(*, is_secure: bool, viewer: str = "") -> Mapping[str, str]:
    """No script or style within a page, nothing from elsewhere, in no frame; TLS for a year once
    there was TLS. The form of the log-in may lead on to `viewer`, an address."""
    policy = _POLICY.format(viewer=f" {viewer}" if viewer else "")
    found = {"Content-Security-Policy": policy, **_HEADERS}
    return found | ({"Strict-Transport-Security": _ONE_YEAR} if is_secure else {})

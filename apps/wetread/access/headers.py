"""What every answer tells the browser about itself."""

from __future__ import annotations

from collections.abc import Mapping

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # With no-referrer, browsers would hide from us that a form is ours.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_ONE_YEAR = "max-age=31536000"


def secure_headers(*, is_secure: bool) -> Mapping[str, str]:
    """No script or style within a page, nothing from elsewhere, in no frame; TLS for a year once
    there was TLS."""
    return _HEADERS | ({"Strict-Transport-Security": _ONE_YEAR} if is_secure else {})

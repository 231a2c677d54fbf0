"""How often somebody may ask. In memory: a restart forgets it, and each process counts for itself.

Whoever can restart wetread needs no password.
"""

from __future__ import annotations

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

LOGIN_MINUTES = 15
# Of a user, from anywhere; and of an address, for any users.
LOGINS_OF_USER = RateLimitItemPerMinute(10, LOGIN_MINUTES)
LOGINS_OF_ADDRESS = RateLimitItemPerMinute(30, LOGIN_MINUTES)
REQUESTS_OF_ADDRESS = RateLimitItemPerSecond(300, 10)


class Limits:
    """Counts requests of an address, and tries to log in."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def may_ask(self, address: str) -> bool:
        """Counts one request."""
        return self._hit(REQUESTS_OF_ADDRESS, address)

    def may_try(self, user: str, address: str) -> bool:
        """Counts one try to log in, before the password is looked at."""
        return self._hit(LOGINS_OF_ADDRESS, address) and self._hit(LOGINS_OF_USER, user)

    def succeeded(self, user: str) -> None:
        """Forget the user's tries."""
        self._limiter.clear(LOGINS_OF_USER, user)

    def _hit(self, item: RateLimitItem, who: str) -> bool:
        return self._limiter.hit(item, who)

"""Who may ask for what: users, their roles and their tokens."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from lib.guard.who import LOCAL
from lib.settings import User

USER, ANNOTATOR, REVIEWER, ADMIN = ROLES = ("user", "annotator", "reviewer", "admin")


@dataclass(frozen=True)
class Person:
    """Somebody who asks; a role includes those before it."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether that role is his or below his."""
        return ROLES.index(self.role) >= ROLES.index(role)


EVERYBODY = Person(LOCAL, ADMIN)


class People:
    """The users of the settings. Raises ValueError for two of one name, or an unknown role."""

    def __init__(self, users: Sequence[User]) -> None:
        self._people = {each.name: Person(each.name, _highest(each)) for each in users}
        self._hashes = [(each.token_sha256.lower(), each.name) for each in users]
        if len(self._people) < len(users):
            raise ValueError("two users have one name")

    def __bool__(self) -> bool:
        return bool(self._people)

    def named(self, name: str) -> Person | None:
        """The user of that name."""
        return self._people.get(name)

    def who_may(self, role: str) -> list[str]:
        """The names of those who have it; without users, everybody is one."""
        people = self._people.values() or [EVERYBODY]
        return sorted(each.name for each in people if each.may(role))

    def with_token(self, token: str, name: str | None = None) -> Person | None:
        """Whose token it is, or None; with `name`, only that user's. In constant time."""
        digest = sha256(token)
        found = None
        for known, owner in self._hashes:
            if hmac.compare_digest(known, digest) and name in (None, owner):
                found = self._people[owner]
        return found


def sha256(secret: str) -> str:
    """Of its UTF-8, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _highest(user: User) -> str:
    unknown = set(user.roles) - set(ROLES)
    if unknown or not user.roles:
        raise ValueError(f"user {user.name}: roles {user.roles}, of which there are {ROLES}")
    return max(user.roles, key=ROLES.index)

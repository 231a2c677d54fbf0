"""What each role may do: the one table of permissions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """Of a user; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a page or a route of the API asks for."""

    SEE = "see"
    TEST = "test"
    ACT = "act"
    CORRECT = "correct"
    AUDIT = "audit"
    USERS = "users"


_VIEWER = frozenset({Permission.SEE})
# To test is to ask a destination whether it is there, or a rule what it would take; to correct is
# to store in the archive from the viewer.
_OPERATOR = _VIEWER | {Permission.TEST, Permission.ACT, Permission.CORRECT}
PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: _OPERATOR | {Permission.AUDIT, Permission.USERS},
}


def may(role: Role, permission: Permission) -> bool:
    """Whether that role has that permission."""
    return permission in PERMISSIONS[role]


def least_role(permission: Permission) -> Role:
    """The first role that has it, for the words of a refusal."""
    return next(role for role in Role if may(role, permission))

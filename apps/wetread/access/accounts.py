"""Who may come in: local users with a password, and those whom an OpenID provider vouches for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from wetread.access.hashing import hash_password, is_outdated, is_password, new_password
from wetread.access.roles import Role
from wetread.audit import events as audit
from wetread.errors import AccessError
from wetread.ledger.book import Book
from wetread.ledger.database import insert_once
from wetread.ledger.tables import sessions, tokens, users

FIRST_USER = "admin"
_NAME = re.compile(r"[\w.@+-]{1,64}")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may come in. `must_change`: only once the password has been changed.

    `subject` is how an OpenID provider calls the user; "" for a local one.
    """

    name: str
    role: Role
    must_change: bool
    subject: str
    created_at: float
    last_login_at: float | None


class Accounts(Book):
    """Users by name."""

    def add(self, name: str, role: Role, password: str, *, must_change: bool = False) -> User:
        """A new local user. Raises AccessError if the name is taken or no name, or for the
        password."""
        _check_name(name)
        values = {"password_hash": hash_password(password), "must_change": must_change}
        with self._transaction() as connection:
            if not self._insert(connection, name, role, values):
                raise AccessError(f"there is a user {name} already", hint="choose another name")
            self._audit(connection, audit.user_changed(name, f"made, as {role}"))
        return self.get(name)

    def first_password(self) -> str | None:
        """Where there is no user yet, make the first; gives the password, which is kept nowhere."""
        with self._reading() as connection:
            if connection.execute(select(func.count()).select_from(users)).scalar_one():
                return None
        password = new_password()
        values = {"password_hash": hash_password(password), "must_change": True}
        with self._transaction() as connection:
            made = self._insert(connection, FIRST_USER, Role.ADMIN, values)
            if made:
                self._audit(connection, audit.user_changed(FIRST_USER, "made, the first user"))
        return password if made else None

    def vouched(self, subject: str, name: str, role: Role) -> User:
        """The user of that subject at the provider, with the role that it has there now.

        Raises AccessError if the name is another user's, or no name.
        """
        _check_name(name)
        this = users.c.subject == subject
        with self._transaction() as connection:
            known = connection.execute(select(users.c.name).where(this)).scalar()
            if known is None and not self._insert(connection, name, role, {"subject": subject}):
                raise AccessError(
                    f"there is another user {name}", hint="an admin can remove that one"
                )
            now = {"role": role, "last_login_at": self._now()}
            connection.execute(update(users).where(this).values(**now))
            self._audit(connection, audit.logged_in(known or name))
        return self.get(known or name)

    def _insert(
        self, connection: Connection, name: str, role: Role, values: dict[str, Any]
    ) -> bool:
        row = {"name": name, "role": role, "must_change": False, "created_at": self._now()}
        return insert_once(connection, users, {**row, **values})

    def get(self, name: str) -> User:
        """Raises AccessError if there is none of that name."""
        return _user(self._row(name))

    def list(self) -> tuple[User, ...]:
        """All, by name."""
        with self._reading() as connection:
            rows = connection.execute(select(users).order_by(users.c.name)).all()
        return tuple(_user(row) for row in rows)

    def log_in(self, name: str, password: str) -> User | None:
        """The user, if that is the password. Takes as long if there is no such user."""
        with self._reading() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).first()
        kept = row.password_hash if row else None
        if not is_password(password, kept) or kept is None:
            # A name that is nobody's may be a password, typed into the wrong field.
            who = name if row else "unknown"
            with self._transaction() as connection:
                self._audit(connection, audit.logged_in(who, "wrong name or password"))
            return None
        values: dict[str, Any] = {"last_login_at": self._now()}
        if is_outdated(kept):
            values["password_hash"] = hash_password(password)
        # Not where the password was changed in the meantime.
        this = (users.c.name == name, users.c.password_hash == kept)
        with self._transaction() as connection:
            if not connection.execute(update(users).where(*this).values(**values)).rowcount:
                return None
            self._audit(connection, audit.logged_in(name))
        return self.get(name)

    def set_password(self, name: str, password: str, *, must_change: bool = False) -> None:
        """Sessions of the user end. Raises AccessError."""
        if self.get(name).subject:
            raise AccessError(
                f"{name} has no password here", hint="it is changed at the OpenID provider"
            )
        values = {"password_hash": hash_password(password), "must_change": must_change}
        with self._transaction() as connection:
            connection.execute(update(users).where(users.c.name == name).values(**values))
            connection.execute(delete(sessions).where(sessions.c.user == name))
            self._audit(connection, audit.user_changed(name, "another password"))

    def set_role(self, name: str, role: Role) -> None:
        """Raises AccessError if there is no such user, or it is the last admin."""
        self._row(name)
        with self._transaction() as connection:
            connection.execute(update(users).where(users.c.name == name).values(role=role))
            _check_an_admin_is_left(connection, name)
            self._audit(connection, audit.user_changed(name, f"is {role} now"))

    def remove(self, name: str) -> None:
        """With sessions and tokens. Raises AccessError as `set_role` does."""
        self._row(name)
        with self._transaction() as connection:
            connection.execute(delete(users).where(users.c.name == name))
            connection.execute(delete(sessions).where(sessions.c.user == name))
            connection.execute(delete(tokens).where(tokens.c.user == name))
            _check_an_admin_is_left(connection, name)
            self._audit(connection, audit.user_changed(name, "removed"))

    def _row(self, name: str) -> Row[Any]:
        with self._reading() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).first()
        if row is None:
            raise AccessError(f"there is no user {name}", hint="`wetread users list` shows them")
        return row


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AccessError(
            f"{name!r} is no name for a user",
            hint="1 to 64 letters, digits and any of . @ + - _",
        )


def _check_an_admin_is_left(connection: Connection, name: str) -> None:
    admins = select(func.count()).where(users.c.role == Role.ADMIN, users.c.subject.is_(None))
    if not connection.execute(admins).scalar_one():
        # The transaction is given up.
        raise AccessError(
            f"{name} is the last admin with a password",
            hint="make another one first: `wetread users add NAME --role admin`",
        )


def _user(row: Row[Any]) -> User:
    return User(
        name=row.name,
        role=Role(row.role),
        must_change=row.must_change,
        subject=row.subject or "",
        created_at=row.created_at,
        last_login_at=row.last_login_at,
    )

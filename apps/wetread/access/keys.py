"""How somebody is known again: a browser by its session, a program by its token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select, update

from wetread.access.hashing import digest_of, new_secret, new_token
from wetread.audit import events as audit
from wetread.errors import AccessError
from wetread.ledger.book import Book
from wetread.ledger.database import insert_once
from wetread.ledger.tables import sessions, tokens, users

DAY_SECONDS = 86_400.0
# A session is not written anew at every click.
_SEEN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Token:
    """A program's key, without its secret."""

    user: str
    label: str
    created_at: float
    expires_at: float | None


class Sessions(Book):
    """Browsers that have logged in. One ends `lasts_seconds` after that, or when nobody has used it
    for `idle_seconds`."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        *,
        lasts_seconds: float,
        idle_seconds: float,
    ) -> None:
        super().__init__(engine, clock)
        self._lasts_seconds, self._idle_seconds = lasts_seconds, idle_seconds

    def open(self, user: str) -> str:
        """A new session's secret, for the cookie. Old ones of anybody are cleared away."""
        secret, now = new_secret(), self._now()
        ended = (sessions.c.created_at < now - self._lasts_seconds) | (
            sessions.c.last_seen_at < now - self._idle_seconds
        )
        row = {"session_sha256": digest_of(secret), "user": user}
        with self._transaction() as connection:
            connection.execute(delete(sessions).where(ended))
            connection.execute(insert(sessions).values(**row, created_at=now, last_seen_at=now))
        return secret

    def user_of(self, secret: str, *, used: bool) -> str | None:
        """Whose session it is, if it lasts. `used` says that a person has done something."""
        now, this = self._now(), sessions.c.session_sha256 == digest_of(secret)
        with self._reading() as connection:
            row = connection.execute(select(sessions).where(this)).first()
        if row is None or now >= min(
            row.created_at + self._lasts_seconds, row.last_seen_at + self._idle_seconds
        ):
            return None
        if used and now > row.last_seen_at + _SEEN_SECONDS:
            with self._transaction() as connection:
                connection.execute(update(sessions).where(this).values(last_seen_at=now))
        return str(row.user)

    def close(self, secret: str) -> None:
        """End it."""
        this = sessions.c.session_sha256 == digest_of(secret)
        with self._transaction() as connection:
            ended = connection.execute(delete(sessions).where(this).returning(sessions.c.user))
            for user in ended.scalars():
                self._audit(connection, audit.logged_out(user))


class Tokens(Book):
    """Keys of programs, by user and label."""

    def make(self, user: str, label: str, days: float | None) -> str:
        """A new token, which is shown now and kept nowhere; without `days` it lasts for ever.

        Raises AccessError if there is no such user, or the label is taken.
        """
        if not 1 <= len(label) <= 64:
            raise AccessError("a token needs a label of 1 to 64 characters", hint="what is it for?")
        secret, now = new_token(), self._now()
        row = {"token_sha256": digest_of(secret), "user": user, "label": label, "created_at": now}
        until = None if days is None else now + days * DAY_SECONDS
        with self._transaction() as connection:
            if connection.execute(select(users.c.name).where(users.c.name == user)).first() is None:
                raise AccessError(f"there is no user {user}", hint="`wetread users list`")
            if not insert_once(connection, tokens, {**row, "expires_at": until}):
                raise AccessError(
                    f"{user} has a token {label!r} already", hint="revoke it, or use another label"
                )
            self._audit(connection, audit.user_changed(user, f"token {label!r} made"))
        return secret

    def user_of(self, secret: str) -> str | None:
        """Whose token it is, if it is valid."""
        query = select(tokens).where(tokens.c.token_sha256 == digest_of(secret))
        with self._reading() as connection:
            row = connection.execute(query).first()
        if row is None or (row.expires_at is not None and self._now() >= row.expires_at):
            return None
        return str(row.user)

    def list(self, user: str | None = None) -> tuple[Token, ...]:
        """Of one user, or all."""
        query = select(tokens).order_by(tokens.c.user, tokens.c.label)
        if user is not None:
            query = query.where(tokens.c.user == user)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return tuple(Token(row.user, row.label, row.created_at, row.expires_at) for row in rows)

    def revoke(self, user: str, label: str) -> None:
        """Raises AccessError if there is none of that label."""
        this = (tokens.c.user == user, tokens.c.label == label)
        with self._transaction() as connection:
            if not connection.execute(delete(tokens).where(*this)).rowcount:
                raise AccessError(f"{user} has no token {label!r}", hint="`wetread users list`")
            self._audit(connection, audit.user_changed(user, f"token {label!r} revoked"))

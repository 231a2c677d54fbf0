"""The audit trail: events that are added and never changed, each with the digest of all before it.

An event is added in the transaction of what it tells of: either both are there or neither is. The
database refuses to change or remove one; where somebody does it behind the database's back, the
chain of digests shows it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from wetread.audit import events
from wetread.audit.events import Message
from wetread.errors import LedgerError
from wetread.ledger.book import Book
from wetread.ledger.chain import FIRST, digest_of, source_of
from wetread.ledger.database import insert_once, take_turn
from wetread.ledger.tables import audit, audit_forwarding, properties

_PAGE = 500


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One event. `at` is in seconds since 1970, `message` the audit message as JSON text."""

    number: int
    at: float
    study_instance_uid: str
    message: str
    previous_sha256: str
    sha256: str

    @property
    def content(self) -> Message:
        """The message."""
        found: Message = json.loads(self.message)
        return found


class Trail(Book):
    """Reads the trail, adds what belongs to no other book, and knows how far it was forwarded."""

    def record(self, message: Message) -> None:
        """Add one event by itself. Raises LedgerError; what it tells of must not happen then."""
        with self._transaction() as connection:
            self._audit(connection, message)

    def started(self, version: str, settings_sha256: str) -> None:
        """Note the start of a gateway, and whether its settings are others than the last time."""
        with self._transaction() as connection:
            source = source_of(connection)
            name = f"settings_sha256 {source}@{socket.gethostname()}"
            known = select(properties.c.value).where(properties.c.name == name)
            before = connection.execute(known).scalar()
            self._audit(connection, events.application_started(version))
            if before == settings_sha256:
                return
            if not insert_once(connection, properties, {"name": name, "value": settings_sha256}):
                this = properties.c.name == name
                connection.execute(update(properties).where(this).values(value=settings_sha256))
            self._audit(connection, events.settings_changed("settings", settings_sha256))

    def read(
        self, *, after: int = 0, since: float = 0.0, study: str = "", limit: int | None = None
    ) -> Iterator[AuditRecord]:
        """Events after that number and time (seconds since 1970), oldest first."""
        left = limit
        while left is None or left > 0:
            query = select(audit).where(audit.c.number > after, audit.c.at >= since)
            if study:
                query = query.where(audit.c.study_instance_uid == study)
            page = _PAGE if left is None else min(_PAGE, left)
            with self._reading() as connection:
                rows = connection.execute(query.order_by(audit.c.number).limit(page)).all()
            yield from map(_record, rows)
            if len(rows) < page:
                return
            after = rows[-1].number
            left = None if left is None else left - len(rows)

    def newest(
        self, *, before: int = 0, study: str = "", limit: int = 100
    ) -> tuple[AuditRecord, ...]:
        """Events, newest first; with `before`, only those before that number."""
        query = select(audit).order_by(audit.c.number.desc()).limit(limit)
        if before:
            query = query.where(audit.c.number < before)
        if study:
            query = query.where(audit.c.study_instance_uid == study)
        with self._reading() as connection:
            return tuple(map(_record, connection.execute(query).all()))

    def verify(self, known: Mapping[int, str] | None = None) -> AuditRecord | None:
        """The newest event, if every one is as it was written; None if there is none.

        `known` are digests by number that were noted elsewhere: they tell whether the end of the
        trail was cut off, or all of it written anew. Raises LedgerError at the first fault.
        """
        left = dict(known or {})
        last: AuditRecord | None = None
        for each in self.read():
            _check(each, last)
            if left.pop(each.number, each.sha256) != each.sha256:
                raise LedgerError(
                    f"audit event {each.number} is not the one that was noted",
                    hint="the trail was written anew; compare with the syslog server's copy",
                )
            last = each
        if left:
            raise LedgerError(
                f"audit event {min(left)} is not there; the last is {last.number if last else 0}",
                hint="the end of the trail was cut off; compare with the syslog server's copy",
            )
        return last

    # -- forwarding -----------------------------------------------------------------------------

    def take_turn(
        self, target: str, owner: str, seconds: float, *, from_now: bool = False
    ) -> int | None:
        """The number of the last event that the target has, if `owner` may send it more.

        A new target has none yet, or with `from_now` all that there are.

        Only one process sends at a time; one that says nothing for so many seconds has lost its
        turn.
        """
        now = self._now()
        with self._transaction() as connection:
            number = _newest_number(connection) if from_now else 0
            row = {"target": target, "number": number, "owner": owner, "until": now + seconds}
            found = take_turn(connection, audit_forwarding, row, now)
        return None if found is None else int(found.number)

    def forwarded(self, target: str, owner: str, number: int) -> None:
        """Note that the target has everything up to that event."""
        this = (audit_forwarding.c.target == target, audit_forwarding.c.owner == owner)
        with self._transaction() as connection:
            connection.execute(update(audit_forwarding).where(*this).values(number=number))

    def waiting(self, target: str) -> int:
        """How many events the target has not got."""
        sent = select(audit_forwarding.c.number).where(audit_forwarding.c.target == target)
        with self._reading() as connection:
            number = connection.execute(sent).scalar() or 0
            return _newest_number(connection) - int(number)


def _newest_number(connection: Connection) -> int:
    return int(connection.execute(select(func.max(audit.c.number))).scalar() or 0)


def _check(record: AuditRecord, before: AuditRecord | None) -> None:
    number, previous = (before.number, before.sha256) if before else (0, FIRST)
    if record.number != number + 1:
        raise LedgerError(
            f"audit events {number + 1} to {record.number - 1} are not there",
            hint="somebody removed them; compare with the syslog server's copy",
        )
    written = digest_of(record.previous_sha256, record.number, record.message)
    if record.previous_sha256 != previous or record.sha256 != written:
        raise LedgerError(
            f"audit event {record.number} was changed, or one before it",
            hint="compare with the syslog server's copy",
        )


def _record(row: Row[Any]) -> AuditRecord:
    return AuditRecord(**row._mapping)

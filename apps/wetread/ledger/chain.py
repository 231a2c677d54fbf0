"""Adding to the audit trail: numbers without a gap, each event with the digest of all before it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from wetread.audit.events import Message
from wetread.ledger.database import one_at_a_time
from wetread.ledger.tables import audit

FIRST = "0" * 64
# The execution option that says whose AE title the audit trail names.
SOURCE = "wetread_source"


def append(connection: Connection, at: float, messages: Sequence[Message]) -> None:
    """Add events as the last thing of a transaction: others wait for its end from here on."""
    if not messages:
        return
    one_at_a_time(connection, "audit")
    newest = select(audit.c.number, audit.c.sha256).order_by(audit.c.number.desc()).limit(1)
    number, previous = connection.execute(newest).first() or (0, FIRST)
    for message in messages:
        number += 1
        # In ASCII, so that what is kept is what was digested, whatever words it has.
        written = json.dumps(_whole(message, at, source_of(connection)))
        digest = digest_of(previous, number, written)
        row = {"number": number, "at": at, "study_instance_uid": _study_of(message)}
        row |= {"message": written, "previous_sha256": previous, "sha256": digest}
        connection.execute(insert(audit).values(**row))
        previous = digest


def source_of(connection: Connection) -> str:
    """The AE title of whoever opened the ledger."""
    return str(connection.get_execution_options().get(SOURCE, "WETREAD"))


def digest_of(previous: str, number: int, message: str) -> str:
    """The digest of an event and, through `previous`, of all before it, in hexadecimal."""
    return hashlib.sha256(f"{previous}\n{number}\n{message}".encode()).hexdigest()


def _whole(message: Message, at: float, reporter: str) -> Message:
    """With its time, and with who reports it."""
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    participants = [
        each | {"AlternativeUserID": f"AETITLES={reporter}"}
        if each["UserID"] == str(os.getpid())
        else each
        for each in message["ActiveParticipant"]
    ]
    source = {
        "AuditSourceID": f"{reporter}@{socket.gethostname()}",
        "AuditSourceTypeCode": [{"csd-code": "4"}],
    }
    return {
        "EventIdentification": {"EventDateTime": time, **message["EventIdentification"]},
        "ActiveParticipant": participants,
        "AuditSourceIdentification": source,
        "ParticipantObjectIdentification": message["ParticipantObjectIdentification"],
    }


def _study_of(message: Message) -> str:
    for each in message["ParticipantObjectIdentification"]:
        if each.get("ParticipantObjectName") == "study":
            return str(each["ParticipantObjectID"])
    return ""

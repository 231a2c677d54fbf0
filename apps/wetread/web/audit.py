"""The audit trail as people read it: who did what, when, from where, and how it ended."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wetread.audit.events import WITHHELD, Message, Outcome
from wetread.ledger.trail import AuditRecord

# The standard's own words.
_WORDS = {
    Outcome.SUCCESS: "success",
    Outcome.MINOR: "minor failure",
    Outcome.SERIOUS: "serious failure",
}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event: what happened, and which event that is by the standard. `things` is what it was
    about beside the study; `message` is all of it."""

    number: int
    at: datetime
    who: str
    address: str
    what: str
    event: str
    outcome: str
    why: str
    study_instance_uid: str
    things: tuple[str, ...]
    message: dict[str, Any]


def audit_rows(records: Iterable[AuditRecord]) -> tuple[AuditRow, ...]:
    """Of the trail."""
    return tuple(_row(each) for each in records)


def _row(record: AuditRecord) -> AuditRow:
    message = record.content
    event = message["EventIdentification"]
    who = next(each for each in message["ActiveParticipant"] if each["UserIsRequestor"] == "true")
    kinds = [each["originalText"] for each in event["EventTypeCode"]]
    return AuditRow(
        number=record.number,
        at=datetime.fromtimestamp(record.at, UTC),
        who=str(who.get("UserName") or who["UserID"]),
        address=str(who.get("NetworkAccessPointID", "")),
        what=", ".join(kinds) or event["EventID"]["originalText"],
        event=event["EventID"]["originalText"],
        outcome=_WORDS[Outcome(event["EventOutcomeIndicator"])],
        why=str(event.get("EventOutcomeDescription", "")),
        study_instance_uid=record.study_instance_uid,
        things=tuple(_things(message, record.study_instance_uid)),
        message=message,
    )


def _things(message: Message, study: str) -> Iterable[str]:
    for each in message.get("ParticipantObjectIdentification", []):
        if each["ParticipantObjectID"] in (study, WITHHELD):
            continue
        # A query is its only object without a name.
        kind = each.get("ParticipantObjectName", "query")
        detail = each.get("ParticipantObjectDetail", [])
        names = [base64.b64decode(part["value"]).decode() for part in detail]
        yield " ".join([kind, *names])

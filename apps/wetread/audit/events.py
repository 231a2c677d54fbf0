"""What is audited, each as an audit message of PS3.15 A.5 without its time and its source.

A message is a dictionary with the names of the standard's schema: it is kept and shown as JSON, and
`message.to_xml` writes it as XML. It names studies by their UID and nothing else of a patient; the
patient, whom the standard asks for, is there as `withheld`. An archive knows whose study it is.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from wetread.audit import codes
from wetread.audit.actor import current_actor
from wetread.audit.codes import Code

Message = dict[str, Any]
WITHHELD = "withheld"


class Outcome(StrEnum):
    """Event Outcome Indicator: `MINOR` may still come right, `SERIOUS` needs a person."""

    SUCCESS = "0"
    MINOR = "4"
    SERIOUS = "8"


# -- what happens by itself ---------------------------------------------------------------------


def application_started(version: str) -> Message:
    """A gateway has opened its doors."""
    event = _event(codes.APPLICATION_ACTIVITY, "E", codes.APPLICATION_START)
    return _message(event, [_ourselves(codes.APPLICATION)], [_thing("version", version)])


def application_stopped() -> Message:
    """A gateway has closed its doors."""
    event = _event(codes.APPLICATION_ACTIVITY, "E", codes.APPLICATION_STOP)
    return _message(event, [_ourselves(codes.APPLICATION)])


def receiving(study: str, calling_ae_title: str) -> Message:
    """The first instance of a study, or of its next generation, has come."""
    event = _event(codes.BEGIN_TRANSFERRING, "E", codes.RECEIVE)
    return _message(event, _from_caller(calling_ae_title), _study(study))


def received(
    study: str, calling_ae_titles: Sequence[str], instances_by_class: Mapping[str, int]
) -> Message:
    """A study is complete."""
    event = _event(codes.INSTANCES_TRANSFERRED, "C", codes.RECEIVE)
    return _message(event, _from_caller(*calling_ae_titles), _study(study, instances_by_class))


def routed(study: str, models: Sequence[str], why_not: str = "") -> Message:
    """The rules have looked at a study, or could not."""
    outcome = Outcome.SERIOUS if why_not else Outcome.SUCCESS
    event = _event(codes.INSTANCES_ACCESSED, "R", codes.ROUTE, outcome=outcome, why=why_not)
    things = [_thing("model", name) for name in models]
    return _message(event, [_ourselves()], [*_study(study), *things])


def read(study: str, job_id: str, model: str, outcome: Outcome, what: str) -> Message:
    """A model has read a series of a study, or could not."""
    event = _event(codes.INSTANCES_ACCESSED, "R", codes.READ, outcome=outcome, why=what)
    things = [_thing("model", model), _thing("job", job_id)]
    return _message(event, [_ourselves()], [*_study(study), *things])


def delivered(
    study: str, destination: str, sop_instance_uid: str, outcome: Outcome, what: str
) -> Message:
    """A destination has got a result, or has not."""
    event = _event(codes.INSTANCES_TRANSFERRED, "R", codes.DELIVER, outcome=outcome, why=what)
    to = _participant(destination, role=codes.DESTINATION_ROLE, requestor=False)
    return _message(
        event, [_ourselves(codes.SOURCE_ROLE), to], _instances(study, [sop_instance_uid])
    )


def removed(study: str, why: str) -> Message:
    """The local copies of a study are removed."""
    event = _event(codes.STUDY_DELETED, "D", why=why)
    return _message(event, [_requestor()], _study(study))


def refused(name: str, address: str, why: str) -> Message:
    """Somebody was not let in: a node by its AE title, or a request at a door over HTTP."""
    event = _event(
        codes.SECURITY_ALERT, "E", codes.NODE_AUTHENTICATION, outcome=Outcome.MINOR, why=why
    )
    return _message(event, [_participant(name, address), _ourselves(requestor=False)])


# -- what people do -----------------------------------------------------------------------------


def logged_in(name: str, why_not: str = "") -> Message:
    """Somebody has shown who he is, or could not."""
    outcome = Outcome.MINOR if why_not else Outcome.SUCCESS
    event = _event(codes.USER_AUTHENTICATION, "E", codes.LOGIN, outcome=outcome, why=why_not)
    actor = current_actor()
    return _message(event, [_participant(name, actor.address if actor else ""), _server()])


def logged_out(name: str) -> Message:
    """Somebody has left."""
    event = _event(codes.USER_AUTHENTICATION, "E", codes.LOGOUT)
    actor = current_actor()
    return _message(event, [_participant(name, actor.address if actor else ""), _server()])


def viewed(study: str) -> Message:
    """The acting person looks at a study."""
    event = _event(codes.INSTANCES_ACCESSED, "R", codes.VIEW)
    return _message(event, [_requestor()], _study(study))


def stored(
    study: str, archive: str, sop_instance_uids: Sequence[str], why_unsure: str = ""
) -> Message:
    """The acting person has stored objects of a study in an archive, or perhaps has."""
    outcome = Outcome.MINOR if why_unsure else Outcome.SUCCESS
    event = _event(codes.INSTANCES_TRANSFERRED, "C", codes.STORE, outcome=outcome, why=why_unsure)
    to = _participant(archive, role=codes.DESTINATION_ROLE, requestor=False)
    return _message(event, [_requestor(), to], _instances(study, sop_instance_uids))


def user_changed(name: str, what: str) -> Message:
    """A user was made, changed or removed: `what`, without any secret."""
    event = _event(codes.SECURITY_ALERT, "U", codes.USER_CHANGED, why=what)
    user = {
        "ParticipantObjectID": name,
        "ParticipantObjectTypeCode": "1",
        "ParticipantObjectTypeCodeRole": "11",
        "ParticipantObjectIDTypeCode": codes.USER_IDENTIFIER.as_message(),
        "ParticipantObjectName": name,
    }
    return _message(event, [_requestor()], [user])


def settings_changed(what: str, value: str) -> Message:
    """The settings of a gateway are others than at its last start."""
    event = _event(codes.SECURITY_ALERT, "U", codes.SECURITY_CONFIGURATION, why="other settings")
    return _message(event, [_requestor()], [_thing(what, value)])


def model_changed(model: str, what: str) -> Message:
    """Another version of a model reads from now on, or does not: promotion, rollback."""
    event = _event(codes.SECURITY_ALERT, "U", codes.SOFTWARE_CONFIGURATION, why=what)
    return _message(event, [_requestor()], [_thing("model", model)])


def asked(what: str, kind: str, name: str, study: str = "") -> Message:
    """A person asked for something out of the ordinary: to retry, to cancel, to wait no longer."""
    event = _event(codes.SECURITY_ALERT, "E", codes.RESTRICTED_FUNCTION, why=what)
    return _message(event, [_requestor()], [*(_study(study) if study else []), _thing(kind, name)])


def queried(archive: str, sop_class_uid: str, query: bytes) -> Message:
    """An archive was asked what it has. `query` is the identifier without the patient."""
    event = _event(codes.QUERY, "E")
    to = _participant(archive, role=codes.DESTINATION_ROLE, requestor=False)
    asked_for = {
        "ParticipantObjectID": sop_class_uid,
        "ParticipantObjectTypeCode": "2",
        "ParticipantObjectTypeCodeRole": "3",
        "ParticipantObjectIDTypeCode": codes.SOP_CLASS_UID.as_message(),
        "ParticipantObjectQuery": base64.b64encode(query).decode("ascii"),
    }
    return _message(event, [_requestor(), to], [asked_for])


def copied_out(folder: str) -> Message:
    """Everything was copied to a backup."""
    event = _event(codes.EXPORT, "R", codes.BACKUP)
    return _message(event, [_requestor()], [_thing("backup", folder)])


def copied_in(folder: str) -> Message:
    """Everything was put back from a backup."""
    event = _event(codes.IMPORT, "C", codes.RESTORE)
    return _message(event, [_requestor()], [_thing("backup", folder)])


def log_used() -> Message:
    """Somebody took a copy of the audit trail."""
    event = _event(codes.AUDIT_LOG_USED, "R")
    log = {
        "ParticipantObjectID": "urn:wetread:audit",
        "ParticipantObjectTypeCode": "2",
        "ParticipantObjectTypeCodeRole": "13",
        "ParticipantObjectIDTypeCode": codes.URI.as_message(),
        "ParticipantObjectName": "Security Audit Log",
    }
    return _message(event, [_requestor()], [log])


# -- parts --------------------------------------------------------------------------------------


def _event(
    event: Code, action: str, *types: Code, outcome: Outcome = Outcome.SUCCESS, why: str = ""
) -> Message:
    return {
        "EventActionCode": action,
        "EventOutcomeIndicator": str(outcome),
        "EventID": event.as_message(),
        "EventTypeCode": [each.as_message() for each in types],
        **({"EventOutcomeDescription": why} if why else {}),
    }


def _message(
    event: Message, participants: Sequence[Message], objects: Sequence[Message] = ()
) -> Message:
    return {
        "EventIdentification": event,
        "ActiveParticipant": list(participants),
        "ParticipantObjectIdentification": list(objects),
    }


def _participant(
    name: str, address: str = "", *, role: Code | None = None, requestor: bool = True
) -> Message:
    found: Message = {"UserID": name, "UserIsRequestor": "true" if requestor else "false"}
    if address:
        found |= {
            "NetworkAccessPointID": address,
            "NetworkAccessPointTypeCode": "2" if _is_ip(address) else "1",
        }
    return found | ({"RoleIDCode": [role.as_message()]} if role else {})


def _ourselves(role: Code | None = None, *, requestor: bool = True) -> Message:
    # A process is named by its id (PS3.15 A.5.2.2); the ledger adds its AE title.
    return _participant(str(os.getpid()), role=role, requestor=requestor) | {"UserName": "wetread"}


def _server() -> Message:
    return _ourselves(codes.APPLICATION, requestor=False)


def _requestor() -> Message:
    actor = current_actor()
    return _ourselves() if actor is None else _participant(actor.name or "unknown", actor.address)


def _from_caller(*calling_ae_titles: str) -> list[Message]:
    # At most one participant is the requestor (PS3.15 A.5.2).
    callers = [
        _participant(title, role=codes.SOURCE_ROLE, requestor=not index)
        | {"AlternativeUserID": f"AETITLES={title}"}
        for index, title in enumerate(calling_ae_titles)
    ]
    return [*callers, _ourselves(codes.DESTINATION_ROLE, requestor=False)]


def _study(study: str, instances_by_class: Mapping[str, int] | None = None) -> list[Message]:
    described = [
        {"UID": uid, "NumberOfInstances": str(count)}
        for uid, count in sorted((instances_by_class or {}).items())
    ]
    return [
        {
            "ParticipantObjectID": study,
            "ParticipantObjectTypeCode": "2",
            "ParticipantObjectTypeCodeRole": "3",
            "ParticipantObjectIDTypeCode": codes.STUDY_UID.as_message(),
            "ParticipantObjectName": "study",
            **({"ParticipantObjectDescription": [{"SOPClass": described}]} if described else {}),
        },
        {
            "ParticipantObjectID": WITHHELD,
            "ParticipantObjectTypeCode": "1",
            "ParticipantObjectTypeCodeRole": "1",
            "ParticipantObjectIDTypeCode": codes.PATIENT_NUMBER.as_message(),
            "ParticipantObjectName": WITHHELD,
        },
    ]


def _instances(study: str, sop_instance_uids: Sequence[str]) -> list[Message]:
    named = [{"UID": each} for each in sop_instance_uids]
    objects = _study(study)
    objects[0]["ParticipantObjectDescription"] = [
        {"SOPClass": [{"NumberOfInstances": str(len(named)), "Instance": named}]}
    ]
    return objects


def _thing(kind: str, name: str) -> Message:
    return {
        "ParticipantObjectID": f"urn:wetread:{kind}:{name}",
        "ParticipantObjectTypeCode": "2",
        "ParticipantObjectTypeCodeRole": "20" if kind == "job" else "13",
        "ParticipantObjectIDTypeCode": codes.URI.as_message(),
        "ParticipantObjectName": kind,
        "ParticipantObjectDetail": [
            {"type": kind, "value": base64.b64encode(name.encode()).decode("ascii")}
        ],
    }


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True

"""Each kind of event is a message by the standard's schema, with the standard's codes."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from lxml import etree
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr.codedict import codes as standard

from conftest import ROOT
from wetread.audit import codes, events
from wetread.audit.actor import acting
from wetread.audit.alerts import Alerts
from wetread.audit.codes import Code
from wetread.audit.events import Message, Outcome
from wetread.audit.message import to_syslog, to_xml
from wetread.errors import LedgerError
from wetread.ledger import Ledger

STUDY = "1.2.3"
# Events, their types, roles, security alerts, kinds of objects.
GROUPS = (400, 401, 402, 403, 404)
CT = "1.2.840.10008.5.1.4.1.1.2"
EVENTS: dict[str, Message] = {
    "start": events.application_started("1.0"),
    "stop": events.application_stopped(),
    "begin": events.receiving(STUDY, "CT_ROOM1"),
    "received": events.received(STUDY, ["CT_ROOM1", "CT_ROOM2"], {CT: 12}),
    "routed": events.routed(STUDY, ["tiny"]),
    "not routed": events.routed(STUDY, [], "a rule could not be evaluated"),
    "read": events.read(STUDY, "j1", "tiny", Outcome.SUCCESS, "Brain 1.0 mL"),
    "not read": events.read(STUDY, "j1", "tiny", Outcome.SERIOUS, "gap of 10.0 mm"),
    "delivered": events.delivered(STUDY, "pacs", "1.2.3.9", Outcome.SUCCESS, "status 0000"),
    "removed": events.removed(STUDY, "keep_days"),
    "refused": events.refused("STRANGER", "10.0.0.9", "caller not recognised"),
    "log in": events.logged_in("ann"),
    "no log in": events.logged_in("ann", "wrong name or password"),
    "log out": events.logged_out("ann"),
    "viewed": events.viewed(STUDY),
    "stored": events.stored(STUDY, "http://pacs/dicom-web", ["1.2.3.9", "1.2.3.10"]),
    "user": events.user_changed("ann", "is operator now"),
    "settings": events.settings_changed("settings", "0" * 64),
    "model": events.model_changed("tiny", "promoted"),
    "retry": events.asked("retry", "job", "j1", STUDY),
    "query": events.queried("pacs", "1.2.840.10008.5.1.4.1.2.2.1", b"identifier"),
    "backup": events.copied_out("/backup"),
    "restore": events.copied_in("/backup"),
    "export": events.log_used(),
}


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(ROOT / "tests/audit_message.rng"))


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_valid_by_the_schema_of_the_standard(
    name: str, schema: etree.RelaxNG, ledger: Ledger
) -> None:
    ledger.trail.record(EVENTS[name])
    [kept] = ledger.trail.read()
    schema.assertValid(etree.fromstring(to_xml(kept.content)))


def test_the_schema_refuses_a_message_without_a_time_and_one_with_a_word_for_an_outcome(
    schema: etree.RelaxNG, ledger: Ledger
) -> None:
    ledger.trail.record(EVENTS["read"])
    [kept] = ledger.trail.read()
    without, wrong = kept.content, kept.content
    del without["EventIdentification"]["EventDateTime"]
    wrong["EventIdentification"]["EventOutcomeIndicator"] = "failed"
    for broken in (without, wrong):
        assert not schema.validate(etree.fromstring(to_xml(broken)))


def _used() -> list[Code]:
    found = [each for each in vars(codes).values() if isinstance(each, Code)]
    return [each for each in found if each.scheme == "DCM"]


def test_every_code_is_in_its_context_group_with_that_meaning() -> None:
    names = {word for group in GROUPS for words in cid_concepts[group].values() for word in words}
    known = {each.value: each.meaning for each in map(standard.DCM.__getattr__, names)}
    assert len(_used()) == 26
    assert {each.value: each.meaning for each in _used()}.items() <= known.items()


def test_exactly_one_participant_asked_for_it() -> None:
    for name, event in EVENTS.items():
        asked = [each["UserIsRequestor"] for each in event["ActiveParticipant"]]
        assert asked.count("true") == 1, name


def test_the_patient_of_a_study_is_withheld() -> None:
    objects = EVENTS["received"]["ParticipantObjectIdentification"]
    assert [each["ParticipantObjectID"] for each in objects] == [STUDY, "withheld"]


def test_what_a_person_does_is_the_persons_and_anything_else_the_programs() -> None:
    with acting("ann", "10.0.0.7"):
        hers = events.asked("cancel", "job", "j1", STUDY)["ActiveParticipant"]
        ours = events.read(STUDY, "j1", "tiny", Outcome.SUCCESS, "")["ActiveParticipant"]
    assert hers == [
        {
            "UserID": "ann",
            "UserIsRequestor": "true",
            "NetworkAccessPointID": "10.0.0.7",
            "NetworkAccessPointTypeCode": "2",
        }
    ]
    assert ours[0]["UserName"] == "wetread"


def test_text_that_xml_cannot_hold_is_marked_and_markup_is_text(ledger: Ledger) -> None:
    ledger.trail.record(events.refused("A\x00</AuditMessage>", "10.0.0.9", "\x1b[2J<b>"))
    [kept] = ledger.trail.read()
    parsed = ET.fromstring(to_xml(kept.content))  # noqa: S314 - our own
    assert parsed.find("ActiveParticipant").get("UserID") == "A\ufffd</AuditMessage>"
    assert parsed.find("EventIdentification/EventOutcomeDescription").text == "\ufffd[2J<b>"


def test_a_syslog_message_has_the_header_of_the_standard() -> None:
    sent = to_syslog(
        EVENTS["stop"], time="2026-01-02T03:04:05.000+00:00", host="gate way", process="7"
    )
    header, bom, xml = sent.partition(b"\xef\xbb\xbf")
    assert header == b"<85>1 2026-01-02T03:04:05.000+00:00 gate-way wetread 7 DICOM+RFC3881 - "
    assert bom
    assert xml.startswith(b"<AuditMessage><EventIdentification ")


def test_a_caller_who_knocks_without_end_is_one_alert_a_minute() -> None:
    told: list[Message] = []
    now = [0.0]
    alerts = Alerts(told.append, lambda: now[0])
    for _ in range(100):
        alerts.refused("A", "10.0.0.9", "not known")
    alerts.refused("B", "10.0.0.8", "not known")
    now[0] = 60.0
    alerts.refused("A", "10.0.0.9", "not known")
    why = [each["EventIdentification"]["EventOutcomeDescription"] for each in told]
    assert why == [
        "not known",
        "not known",
        "not known; 99 more since the last alert for this address",
    ]


def test_a_caller_is_refused_although_it_cannot_be_recorded() -> None:
    def full(_: Message) -> None:
        raise LedgerError("the ledger does not answer: disk full")

    Alerts(full).refused("A", "10.0.0.9", "not known")

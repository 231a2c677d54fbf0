"""`wetread audit`: the trail as lines of JSON and XML, and whether it is whole."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import text

from facts import STUDY
from wetread.audit import events
from wetread.ledger import Ledger

from .conftest import Run


@pytest.fixture
def ledger(settings_file: Path) -> Iterator[Ledger]:
    url = f"sqlite:///{settings_file.parent / 'spool/ledger.sqlite3'}"
    with closing(Ledger(url)) as opened:
        opened.trail.record(events.receiving(STUDY, "CT_ROOM1"))
        opened.trail.record(events.logged_in("ann"))
        yield opened


def test_export_prints_each_event_with_its_digest_and_is_one_itself(
    wetread: Run, settings_file: Path, ledger: Ledger
) -> None:
    lines = wetread("audit", "export", "-c", settings_file).out.splitlines()
    told = [json.loads(line) for line in lines]
    assert [each["number"] for each in told] == [1, 2, 3]
    assert told[1]["message"]["ActiveParticipant"][0]["UserID"] == "ann"
    last = told[2]["message"]
    assert last["EventIdentification"]["EventID"]["originalText"] == "Audit Log Used"
    assert last["ActiveParticipant"][0]["UserID"] == getpass.getuser()
    assert told[2]["sha256"] == ledger.trail.verify().sha256


def test_export_as_xml_is_one_message_a_line(
    wetread: Run, settings_file: Path, ledger: Ledger
) -> None:
    lines = wetread("audit", "export", "--form", "xml", "-c", settings_file).out.splitlines()
    assert [ET.fromstring(line).tag for line in lines] == ["AuditMessage"] * 3  # noqa: S314


def test_export_can_be_limited(wetread: Run, settings_file: Path, ledger: Ledger) -> None:
    def numbers(*options: object) -> list[int]:
        lines = wetread("audit", "export", *options, "-c", settings_file).out.splitlines()
        return [json.loads(line)["number"] for line in lines]

    assert numbers("--after", 1) == [2, 3]
    assert numbers("--study", STUDY) == [1]
    assert numbers("--since", "2999-01-01") == []


def test_verify_prints_what_to_note_and_takes_it(
    wetread: Run, settings_file: Path, ledger: Ledger
) -> None:
    noted = wetread("audit", "verify", "-c", settings_file).out.strip()
    assert noted == f"2:{ledger.trail.verify().sha256}"
    assert wetread("audit", "verify", "--known", noted, "-c", settings_file).exit_code == 0
    other = f"2:{'0' * 64}"
    ended = wetread("audit", "verify", "--known", other, "-c", settings_file)
    assert ended.is_error(9, "audit event 2 is not the one that was noted")


def test_verify_names_an_event_that_was_changed(
    wetread: Run, settings_file: Path, ledger: Ledger
) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_no_update"))
        connection.execute(text("UPDATE audit SET message = '{}' WHERE number = 1"))
    ended = wetread("audit", "verify", "-c", settings_file)
    assert ended.is_error(9, "audit event 1 was changed")

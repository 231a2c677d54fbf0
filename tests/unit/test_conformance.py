"""The conformance statement in the repository is the one that the program's tables give."""

from __future__ import annotations

import re

from command_line import in_process
from conftest import ROOT
from wetread.config import ListenerConfig
from wetread.conformance import statement
from wetread.dicom.network import VERIFICATION_SOP_CLASS
from wetread.receive.association import Terms

PAGE = ROOT / "deploy" / "conformance.md"
UID_CELL = re.compile(r"\| (\d[\d.]+) \|")


def section(title: str) -> str:
    return statement().partition(f"{title}\n")[2].partition("\n#")[0]


def test_the_page_is_what_the_command_prints(capsys, monkeypatch) -> None:
    """After a change: wetread conformance > deploy/conformance.md"""
    printed = in_process(capsys, monkeypatch, "conformance")
    assert printed.exit_code == 0
    assert printed.out == statement() == PAGE.read_text(encoding="utf-8")


def test_what_the_listener_takes_is_what_is_stated() -> None:
    terms = Terms.of(ListenerConfig())
    classes = set(UID_CELL.findall(section("### SOP classes")))
    assert classes == terms.sop_classes - {VERIFICATION_SOP_CLASS}
    assert set(UID_CELL.findall(section("### Transfer syntaxes"))) == terms.transfer_syntaxes


def test_a_failure_has_the_status_that_the_door_answers() -> None:
    said = re.findall(r"^\| ([0-9A-F]{4}) \|", section("## Storage as an SCP"), re.MULTILINE)
    assert said == ["0000", "A700", "A700", "A900", "C000", "0110"]

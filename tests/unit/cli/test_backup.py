"""`wetread backup` and `wetread restore`."""

from __future__ import annotations

from pathlib import Path

from conftest import Clock
from unit.receive.finished import Ward
from wetread.ledger import Ledger
from wetread.receive.spool import Spool

from .conftest import Run


def test_there_and_back(tmp_path: Path, settings_file: Path, wetread: Run, clock: Clock) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'spool/ledger.sqlite3'}", clock)
    lost, *_ = Ward(Spool(tmp_path / "spool", 0), ledger, clock).finish()
    ledger.close()
    lost.path.unlink()
    made = wetread("backup", "copy")
    assert made.exit_code == 0, made.err
    assert made.out.startswith("copy: 3 images, 1 results, ")
    assert f"the ledger names {lost.path}" in made.err
    refused = wetread("restore", "copy", "-c", settings_file)
    assert refused.is_error(2, "spool is not empty")
    (tmp_path / "spool").rename(tmp_path / "broken")
    back = wetread("restore", "copy")
    assert back.exit_code == 0, back.err
    assert len(list((tmp_path / "spool").rglob("*.dcm"))) == 3
    assert [each["state"] for each in wetread("jobs", "list", "--json").json] == ["done"]


def test_without_a_ledger_there_is_nothing_to_copy(settings_file: Path, wetread: Run) -> None:
    assert wetread("backup", "copy", "-c", settings_file).is_error(2, "no ledger at")

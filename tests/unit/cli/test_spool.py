"""`wetread spool prune`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import write_settings
from conftest import Clock
from tiny_model import TinyModel
from unit.receive.finished import STUDY, Ward
from wetread.ledger import Ledger
from wetread.receive.spool import Spool

from .conftest import Run


@pytest.fixture
def ward(tmp_path: Path, tiny_ct: TinyModel, clock: Clock) -> Iterator[Ward]:
    quick = "[retention]\nkeep_days = 1"
    write_settings(tmp_path, tiny_ct, quick)
    spool = Spool(tmp_path / "spool", 0)
    ledger = Ledger(f"sqlite:///{tmp_path / 'spool/ledger.sqlite3'}", clock)
    yield Ward(spool, ledger, clock)
    ledger.close()


def test_a_dry_run_shows_and_the_other_does(ward: Ward, wetread: Run) -> None:
    ward.finish()
    shown = wetread("spool", "prune", "--dry-run", "--json").json
    assert [each["study"] for each in shown] == [STUDY]
    assert shown[0]["images"] == 3
    assert len(ward.files()) == 4
    done = wetread("spool", "prune")
    assert done.exit_code == 0
    assert STUDY in done.out
    assert ward.files() == set()
    assert wetread("spool", "prune", "--json").json == []


def test_what_another_process_writes_is_left_alone(ward: Ward, wetread: Run) -> None:
    unfinished = ward.spool.received_folder / ".1.dcm.9.part"
    unfinished.touch()
    assert wetread("spool", "prune").exit_code == 0
    assert unfinished.exists()


def test_where_everything_is_kept_there_is_nothing_to_do(wetread: Run, settings_file: Path) -> None:
    ended = wetread("spool", "prune", "--config", settings_file)
    assert ended.is_error(2, "keeps everything for ever")


def test_a_result_that_went_is_shown_as_removed(ward: Ward, wetread: Run) -> None:
    ward.finish()
    wetread("spool", "prune")
    shown = wetread("jobs", "show", f"j{STUDY}").out
    assert f"{STUDY}.9.dcm (removed)" in " ".join(shown.split())

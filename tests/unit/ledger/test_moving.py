"""A ledger of each earlier release becomes one of this, with all of its rows, and can go back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from wetread.backup import upgrade
from wetread.config import Config, parse_config
from wetread.errors import ConfigError, LedgerError
from wetread.lease import only_process
from wetread.ledger import JobState, Ledger, ledger_url
from wetread.ledger.moving import move_ledger
from wetread.ledger.tables import SCHEMA_VERSION

HERE = Path(__file__).parent
EARLIER = sorted(path.stem.removeprefix("schema_") for path in HERE.glob("schema_*.sql"))
JOB = {
    "job_id": "job-1",
    "study_instance_uid": "1.2.3",
    "generation": 1,
    "series_instance_uid": "1.2.3.4",
    "rule": "every CT",
    "model": "brain",
    "destinations": '["pacs"]',
    "priority": 100,
    "attempt": 1,
    "state": "failed",
    "stage": "read",
    "progress": 0.5,
    "cancel_requested": 0,
    "created_at": 1.0,
}


@pytest.fixture(params=EARLIER)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """Settings whose ledger an earlier release wrote, with one failed job in it."""
    config = parse_config({"spool": {"path": "spool"}}, source=tmp_path / "wetread.toml")
    config.spool.path.mkdir()
    values = dict(JOB)
    with closing(sqlite3.connect(config.spool.path / "ledger.sqlite3")) as connection:
        connection.executescript((HERE / f"schema_{request.param}.sql").read_text())
        if request.param != "1":
            values["attempts_since_retry"] = 1
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", [*values.values()])  # noqa: S608
        connection.commit()
    return config


def shape_of(url: str) -> dict[str, dict[str, bool]]:
    """Table → column → whether it may be empty."""
    engine = create_engine(url)
    found = inspect(engine)
    shape = {
        table: {each["name"]: bool(each["nullable"]) for each in found.get_columns(table)}
        for table in found.get_table_names()
    }
    engine.dispose()
    return shape


def test_it_is_refused_until_it_is_moved(earlier: Config) -> None:
    with pytest.raises(LedgerError, match=r"schema version \d, this wetread reads") as caught:
        Ledger(ledger_url(earlier))
    assert "wetread upgrade" in caught.value.hint


def test_it_becomes_one_of_this_release(earlier: Config, tmp_path: Path) -> None:
    moved = upgrade(earlier)
    assert moved.after == SCHEMA_VERSION
    with closing(Ledger(ledger_url(earlier))) as ledger:
        [job] = ledger.jobs.list()
        assert (job.job_id, job.state, job.stack) == ("job-1", JobState.FAILED, "")
    fresh = f"sqlite:///{tmp_path / 'fresh.sqlite3'}"
    Ledger(fresh).close()
    assert shape_of(ledger_url(earlier)) == shape_of(fresh)


def test_the_file_before_is_kept_and_is_the_way_back(earlier: Config) -> None:
    file = earlier.spool.path / "ledger.sqlite3"
    before = shape_of(f"sqlite:///{file}")
    moved = upgrade(earlier)
    assert moved.kept is not None
    assert moved.kept.name == f"ledger.sqlite3.version-{moved.before}"
    moved.kept.replace(file)
    assert shape_of(f"sqlite:///{file}") == before
    assert upgrade(earlier).before == moved.before


def test_a_second_time_changes_nothing(earlier: Config) -> None:
    upgrade(earlier)
    again = upgrade(earlier)
    assert (again.before, again.after, again.kept) == (SCHEMA_VERSION, SCHEMA_VERSION, None)


def test_a_gateway_that_runs_is_not_moved_under(earlier: Config) -> None:
    with (
        only_process(earlier.spool.path / "wetread.lock", "runs here", "stop it"),
        pytest.raises(ConfigError, match=r"another wetread .* runs on"),
    ):
        upgrade(earlier)


def test_a_copy_that_is_there_is_not_written_over(earlier: Config) -> None:
    kept = upgrade(earlier).kept
    assert kept is not None
    (earlier.spool.path / "ledger.sqlite3").write_bytes(kept.read_bytes())
    with pytest.raises(LedgerError, match="is there already"):
        upgrade(earlier)


def test_a_later_version_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    Ledger(url).close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as connection:
        connection.execute("UPDATE properties SET value = '99' WHERE name = 'schema_version'")
        connection.commit()
    with pytest.raises(LedgerError, match="schema version 99, this wetread knows 1, 2 and"):
        move_ledger(url)


@pytest.mark.parametrize("content", [None, b""])
def test_where_there_is_no_ledger_it_is_said(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ledger.sqlite3"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LedgerError, match="no ledger"):
        move_ledger(f"sqlite:///{file}")

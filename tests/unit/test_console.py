"""What the command line shows: to a person, to a file, to a script."""

from __future__ import annotations

import json
import os
import pty
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wetread import console
from wetread.errors import ConfigError
from wetread.ledger import JobState

LONG = "2.25." + "7" * 59


def test_a_row_in_a_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table("studies", ["study", "why"], [(LONG, "quiet " * 40)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "studies"
    assert [LONG in line and line.count("quiet") == 40 for line in lines].count(True) == 1


def test_text_with_brackets_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table("file [a].toml", ["rule"], [("[red]head[/red]",), ("ends with \\",)])
    out = capsys.readouterr().out
    assert "file [a].toml" in out
    assert "│ [red]head[/red] │" in out
    assert "│ ends with \\" in out


def test_nothing_to_show_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table("jobs [x]", ["job"], [])
    assert capsys.readouterr().out == "jobs [x]: none\n"


def test_json_has_the_columns_as_keys(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("j1", Path("/spool/a.dcm")), ("j2", None)]
    console.show_records("jobs", ["job", "next file"], rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"job": "j1", "next_file": "/spool/a.dcm"},
        {"job": "j2", "next_file": None},
    ]


def test_an_error_is_fact_blank_line_hint(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_error(ConfigError("no [listener]", hint="add [listener]"))
    captured = capsys.readouterr()
    assert captured.err == "error: no [listener]\n\nhint: add [listener]\n"
    assert captured.out == ""


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_bar("brain [mr]") as progress:
        progress("forward", 0.5)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_terminal_is_shown_colours_within_its_width() -> None:
    """And an identifier in one piece, to be copied."""
    program = (
        "from wetread.console import show_table\n"
        f"show_table('jobs', ['study', 'state', 'why'], [('{LONG}', 'failed', 'quiet ' * 40)])\n"
    )
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"COLUMNS": "100", "TERM": "xterm"}
        os.execv(sys.executable, [sys.executable, "-c", program])  # noqa: S606
    shown = _read(terminal)
    os.waitpid(child, 0)
    assert "\x1b[31mfailed" in shown
    assert LONG in shown
    assert max(len(line) for line in shown.split("\r\n") if "\x1b" not in line) <= 100


def _read(terminal: int) -> str:
    content = b""
    try:
        while chunk := os.read(terminal, 65536):
            content += chunk
    except OSError:
        pass  # The other end is closed.
    os.close(terminal)
    return content.decode("utf-8")


def test_an_unknown_choice_names_the_known() -> None:
    assert console.choice(JobState, "done") is JobState.DONE
    with pytest.raises(ConfigError, match="'lost' is none of the choices") as raised:
        console.choice(JobState, "lost")
    assert "cancelled" in raised.value.hint


def test_a_time_is_shown_as_local_time() -> None:
    moment = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    shown = datetime.strptime(console.clock(moment.timestamp()), "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
    assert shown == moment.astimezone().replace(tzinfo=None)
    assert console.clock(None) == ""

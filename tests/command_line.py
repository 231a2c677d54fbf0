"""The `wetread` command as a shell sees it: exit code, stdout, stderr; and a settings file."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from conftest import BIN
from tiny_model import TinyModel
from wetread.cli import main

WETREAD = BIN / "wetread"


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stdout says, which must be JSON and nothing else."""
        return json.loads(self.out)

    def is_error(self, exit_code: int, *words: str) -> bool:
        """The fact with all those words, a blank line and a hint on stderr; no traceback."""
        fact, blank, hint = self.err.rpartition("\n\nhint: ")
        shown = fact.startswith("error: ") and blank and hint.strip()
        return (
            self.exit_code == exit_code
            and bool(shown)
            and "Traceback" not in self.err
            and all(word in fact for word in words)
        )


def in_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> Ended:
    """Run the command in this process: the same entry point, without loading torch each time."""
    monkeypatch.setattr(sys, "argv", ["wetread", *map(str, arguments)])
    capsys.readouterr()
    exit_code = 0
    with _process_as_it_was():
        try:
            main()
        except SystemExit as end:
            exit_code = int(end.code or 0)
    captured = capsys.readouterr()
    return Ended(exit_code, captured.out, captured.err)


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    """A command owns its process: it sends the logs to its stderr and silences libraries."""
    levels = {name: logging.getLogger(name).level for name in ("pydicom", "pynetdicom")}
    try:
        yield
    finally:
        structlog.reset_defaults()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        gc.unfreeze()


def in_shell(
    *arguments: object, folder: Path, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run the installed command as its own process."""
    done = subprocess.run(
        [str(WETREAD), *map(str, arguments)],
        cwd=folder,
        env=None if environment is None else dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def write_settings(folder: Path, tiny: TinyModel, extra: str = "", when: str = "") -> Path:
    """A wetread.toml with the tiny model, one rule on CT and one folder destination."""
    (folder / "inbox").mkdir(parents=True, exist_ok=True)
    file = folder / "wetread.toml"
    file.write_text(
        f"""
model_repository = "{tiny.repository}"
[listener]
port = 0
accept_calling_ae_titles = ["CT_ROOM1"]
[spool]
path = "spool"
min_free_bytes = 0
[web]
enabled = false
[assembly]
series_quiet_seconds = 0.3
[models.tiny]
bundle = "{tiny.bundle}"
[destinations.inbox]
kind = "folder"
path = "inbox"
[[rules]]
name = "every CT"
when.modality = "CT"
{when}
run = ["tiny"]
send_results_to = ["inbox"]
{extra}
""",
        encoding="utf-8",
    )
    return file

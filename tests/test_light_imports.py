"""The command line starts at once: nothing heavy is imported for `--help` or `check config`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

HEAVY = ("torch", "monai", "openvino", "pynetdicom", "highdicom", "dbos", "numpy", "sqlalchemy")


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], ()),
        (["check", "config", "--config", str(ROOT / "deploy/wetread.toml")], ()),
    ],
)
def test_a_light_command_imports_nothing_heavy(
    arguments: list[str], allowed: tuple[str, ...]
) -> None:
    program = (
        "import sys\n"
        "from wetread.cli import app\n"
        f"try:\n    app({arguments!r})\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('HEAVY', found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith(f"HEAVY {list(allowed)}")


@pytest.mark.parametrize("module", ["wetread.infer.embedded", "wetread.models.reduced"])
def test_no_import_is_reported_to_its_makers(module: str, tmp_path: Path) -> None:
    """OpenVINO and NNCF would, and would keep a number for this machine in ~/intel."""
    program = f"import {module}, sys\nassert sys.modules['openvino_telemetry'] is None"
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "HOME": str(tmp_path)}, check=True
    )
    assert not (tmp_path / "intel").exists()

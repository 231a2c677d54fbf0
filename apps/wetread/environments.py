"""Python environments beside the gateway's, for servers that need other releases than it does."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wetread
from wetread.errors import ConfigError


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """One at a time in this folder, also among processes; it is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_empty(folder: Path, stamp: str, purpose: str) -> None:
    """An empty folder with a `stamp` that says it is ours; another's is never removed.

    Raises ConfigError for a folder that holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / stamp).is_file():
            raise ConfigError(
                f"{folder} is not empty, and not an environment for {purpose}",
                hint="give the folder of another, or a new one: --environment",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / stamp).write_text("{}\n", encoding="utf-8")


def base_python(versions: Sequence[str], purpose: str) -> Path:
    """A Python of one of these versions (major.minor); this one if it fits.

    Raises ConfigError if there is none.
    """
    running = "{}.{}".format(*sys.version_info[:2])
    if running in versions:
        return Path(sys.executable)
    for version in versions:
        if found := shutil.which(f"python{version}"):
            return Path(found)
    raise ConfigError(
        f"{purpose} runs on Python {' or '.join(versions)}; this is {running}",
        hint=f"install python{versions[-1]} with its venv beside this one",
    )


def run_tool(
    command: Sequence[str | Path], hint: str, variables: Mapping[str, str] | None = None
) -> str:
    """What a command printed; `variables` are added to the environment.

    Raises ConfigError with its last word if it fails.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, **(variables or {})}
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    except OSError as error:
        raise ConfigError(f"cannot run {words[0]}: {error.strerror}", hint=hint) from error
    if done.returncode:
        shown = " ".join(Path(word).name for word in words[:3])
        raise ConfigError(
            f"{shown} ended with {done.returncode}: {last_line(done.stderr or done.stdout)}",
            hint=hint,
        )
    return done.stdout


def last_line(text: str) -> str:
    """What a program said last; of pip, what it said last of an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it said nothing"])[-1]


def link_wetread(packages: Path) -> None:
    """Put the package that runs here, and nothing that lies beside it, into site-packages."""
    link, package = packages / "wetread", Path(wetread.__file__).parent
    if link.is_symlink() and link.readlink() == package:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(package, target_is_directory=True)


def pins_of(requirements: Path) -> tuple[str, ...]:
    """The lines `name==version` of a file, as they stand there."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def missing_pins(packages: Path, pins: Sequence[str]) -> list[str]:
    """Those that site-packages has no record of in that version."""
    there = {path.name.lower() for path in packages.glob("*.dist-info")}
    return [pin for pin in pins if _record_of(pin) not in there]


def write_stamp(folder: Path, stamp: str, requirements: Path, values: Mapping[str, Any]) -> None:
    """Say that the environment is whole, and what it was made from."""
    text = json.dumps({"made_from": _sha256(requirements), **values}, indent=2) + "\n"
    (folder / stamp).write_text(text, encoding="utf-8")


def read_stamp(folder: Path, stamp: str, requirements: Path) -> dict[str, Any] | None:
    """What `write_stamp` kept; None if it is not there, cut short, or of other requirements."""
    try:
        values = json.loads((folder / stamp).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict) or values.get("made_from") != _sha256(requirements):
        return None
    return values


def _sha256(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def _record_of(pin: str) -> str:
    """The folder that pip leaves for `name==version`, in small letters."""
    name, version = pin.lower().split("==")
    return f"{name.replace('-', '_')}-{version}.dist-info"

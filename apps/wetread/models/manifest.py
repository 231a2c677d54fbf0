"""The sha256 manifest of a bundle: `SHA256SUMS`, as `sha256sum --check` reads it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from wetread.errors import ConfigError
from wetread.files import write_atomically

NAME = "SHA256SUMS"
# Of whoever vouches for it, see signing.py.
SIGNATURE = "SHA256SUMS.sig"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
# What training and trials leave beside the bundle.
_NOT_PART = ("models/runs/", "models/checkpoint_", "eval/", ".")


def seal(bundle: Path) -> Path:
    """Write the manifest over every file of the bundle, and say where it is."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(_digests(bundle).items())]
    path = bundle / NAME
    write_atomically(path, ["".join(lines).encode()])
    # Nobody has vouched for what it is now.
    (bundle / SIGNATURE).unlink(missing_ok=True)
    return path


def renew_seal(bundle: Path) -> None:
    """Seal again a bundle that was sealed: after training, its weights are rightly others."""
    if (bundle / NAME).is_file():
        seal(bundle)


def check_seal(bundle: Path) -> None:
    """Raise ConfigError if a file is not as the manifest says, is absent, or is not in it.

    A bundle without a manifest passes: those of the Model Zoo have none.
    """
    path = bundle / NAME
    if not path.is_file():
        return
    wanted = _read(path)
    found = _digests(bundle)
    for what, names in (
        ("is not in", found.keys() - wanted.keys()),
        ("is absent, but in", wanted.keys() - found.keys()),
        ("differs from", {name for name in found.keys() & wanted if found[name] != wanted[name]}),
    ):
        if names:
            raise ConfigError(
                f"{bundle.name}: {min(names)} {what} {NAME}",
                hint=f"if you changed it yourself: wetread bundle seal {bundle.name}",
            )


def beside(bundle: Path) -> list[Path]:
    """Files in the bundle's folder that are no part of it: nobody can vouch for them."""
    return sorted(path for name, path in _files(bundle).items() if name.startswith(_NOT_PART))


def _read(path: Path) -> dict[str, str]:
    wanted = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigError(f"{path}: {line!r} is no line of it", hint="wetread bundle seal")
        wanted[match[2]] = match[1]
    return wanted


def _digests(bundle: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in _files(bundle).items()
        if name not in (NAME, SIGNATURE) and not name.startswith(_NOT_PART)
    }


def _files(bundle: Path) -> dict[str, Path]:
    every = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*")}
    return {name: path for name, path in every.items() if path.is_file()}

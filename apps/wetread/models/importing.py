"""Taking in a bundle from elsewhere: whole, in its folder, vouched for, and never run before."""

from __future__ import annotations

import json
import re
import shutil
import stat
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import torch

from wetread.errors import ConfigError, InputError, StorageError
from wetread.files import aside
from wetread.models.manifest import beside
from wetread.models.original import UNREADABLE
from wetread.models.signing import check_signature, sign

MOST_FILES = 10_000
MOST_BYTES = 16 << 30
_CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_WEIGHTS = {".pt", ".pth", ".ckpt"}
# RuntimeError: of a ZIP with a password.
_UNPACKING = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
)
_HINT = "ask the sender for a plain folder, ZIP or TAR of the bundle"


@dataclass(frozen=True, slots=True)
class Imported:
    """A bundle that is in its place now. `key` has vouched for it.

    `modules` are those beyond MONAI, torch and wetread that its configs name, `expressions` how
    many lines of Python stand in them, and `scripts` its Python files: what a reader should read.
    `left_out` are files that came with it and are no part of it: checkpoints, logs, hidden files.
    """

    bundle: Path
    key: Path
    modules: tuple[str, ...]
    expressions: int
    scripts: tuple[str, ...]
    left_out: tuple[str, ...]


def import_bundle(
    source: Path,
    bundles: Path,
    trusted: Sequence[Path],
    *,
    vouch: Path | None = None,
    replace: bool = False,
) -> Imported:
    """Put the bundle in `source`, a folder, ZIP or TAR, under `bundles`.

    Its files must match its `SHA256SUMS`, which one of the public keys `trusted` must have signed;
    with the private key `vouch` it is sealed and signed here instead. Its weights must load as
    weights only. Nothing of its configs is evaluated. What no manifest covers does not come in.

    Raises InputError for an archive that would write outside of its folder or is too large,
    ConfigError for what is no bundle, is not whole or not vouched for, or is there already.
    """
    with aside(bundles, "import") as folder:
        inside = folder / "bundle"
        inside.mkdir()
        root = _unpacked(source, inside)
        name = root.name if root != inside else source.name.partition(".")[0]
        _check_form(root, name)
        left_out = tuple(each.relative_to(root).as_posix() for each in beside(root))
        for each in left_out:
            (root / each).unlink()
        if vouch is not None:
            sign(root, vouch)
        key = vouch if vouch is not None else check_signature(root, trusted)
        for weights in sorted(each for each in root.rglob("*") if each.suffix in _WEIGHTS):
            _check_weights(weights, root)
        modules, expressions = _code_in(root)
        scripts = tuple(sorted(each.relative_to(root).as_posix() for each in root.rglob("*.py")))
        place = bundles / name
        _install(root, place, replace=replace)
    return Imported(place, key, modules, expressions, scripts, left_out)


def _unpacked(source: Path, folder: Path) -> Path:
    """Everything in `source`, under `folder`; the folder that is the bundle."""
    try:
        if source.is_dir():
            _write_all(_in_folder(source), folder / source.resolve().name)
        # First: the weights at the end of a TAR are a ZIP of their own.
        elif source.is_file() and tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                _write_all(_in_tar(archive), folder)
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                _write_all(_in_zip(archive), folder)
        else:
            raise ConfigError(f"{source} is no folder, ZIP or TAR", hint=_HINT)
    except FileExistsError as error:
        raise InputError(f"{source}: a member comes twice: {error.filename}", hint=_HINT) from error
    except _UNPACKING as error:
        raise InputError(f"{source} cannot be unpacked: {error}", hint=_HINT) from error
    except OSError as error:
        raise StorageError(f"{source}: {error.strerror}", hint="check its disk") from error
    if (folder / "configs").is_dir():
        return folder
    inside = [each for each in folder.iterdir() if (each / "configs").is_dir()]
    if len(inside) != 1:
        raise ConfigError(f"{source} holds {len(inside)} bundles, wanted is one", hint=_HINT)
    return inside[0]


_Member = tuple[str, IO[bytes]]


def _in_folder(source: Path) -> Iterator[_Member]:
    for path in sorted(source.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _outside(str(path.relative_to(source)), "it is no plain file")
        if path.is_file():
            with path.open("rb") as file:
                yield path.relative_to(source).as_posix(), file


def _in_zip(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _outside(member.filename, "it is no plain file")
        if not member.is_dir():
            with archive.open(member) as file:
                yield member.filename, file


def _in_tar(archive: tarfile.TarFile) -> Iterator[_Member]:
    for member in archive:
        if not (member.isfile() or member.isdir()):
            raise _outside(member.name, "it is no plain file")
        file = archive.extractfile(member)
        if file is not None:
            with file:
                yield member.name, file


def _write_all(members: Iterable[_Member], folder: Path) -> None:
    """Within the folder, each once, and no more than there may be, whatever the headers say."""
    left = MOST_BYTES
    for count, (name, file) in enumerate(members, start=1):
        if count > MOST_FILES:
            raise InputError(f"more than {MOST_FILES} files", hint=_HINT)
        place = folder / _inside(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as target:
            while chunk := file.read(min(_CHUNK_BYTES, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise InputError(f"more than {MOST_BYTES} bytes, at {name}", hint=_HINT)
                target.write(chunk)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise _outside(name, "it would lie outside of the bundle")
    return path


def _outside(name: str, why: str) -> InputError:
    return InputError(f"member {name!r}: {why}", hint=_HINT)


def _check_form(root: Path, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name of a bundle", hint="letters, digits, _ . and - only"
        )
    for config in ("metadata.json", "inference.json"):
        if not (root / "configs" / config).is_file():
            raise ConfigError(f"{name} has no configs/{config}", hint="this is no MONAI bundle")


def _check_weights(path: Path, root: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Of other pickle protocols; what it makes of them is what counts.
            warnings.simplefilter("ignore")
            torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{path.relative_to(root)} does not load as weights only: {first}",
            hint="it may run code when it is loaded; ask for a state_dict",
        ) from error


def _install(root: Path, place: Path, *, replace: bool) -> None:
    former = place.with_name(f".former-{place.name}")
    if place.exists():
        if not replace:
            raise ConfigError(
                f"{place} is there already", hint="pass --replace, or move it away first"
            )
        shutil.rmtree(former, ignore_errors=True)
        place.rename(former)
    root.rename(place)
    shutil.rmtree(former, ignore_errors=True)


def _code_in(bundle: Path) -> tuple[tuple[str, ...], int]:
    """Modules of others that the configs name, and how many expressions they hold."""
    modules: set[str] = set()
    expressions = 0
    for config in sorted((bundle / "configs").glob("*.json")):
        try:
            content = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(
                f"configs/{config.name} is no JSON: {error}", hint="try it with MONAI alone"
            ) from error
        for key, value in _values(content):
            if value.startswith("$"):
                expressions += 1
            elif key == "_target_" and "." in value:
                modules.add(value.partition(".")[0])
    return tuple(sorted(modules - {"monai", "torch", "wetread"})), expressions


def _values(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _values(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from _values(value, key)
    elif isinstance(content, str):
        yield key, content

"""The folder that the annotation server writes to, and working copies of the bundles in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError
from wetread.files import write_atomically
from wetread.label.environment import APP

SETTINGS = "settings.json"
COPIED_FROM = ".copied-from.json"
_NOT_COPIED = shutil.ignore_patterns("eval", "runs", "checkpoint*", "__pycache__")


@dataclass(frozen=True, slots=True)
class LabelUser:
    """Somebody who may use the annotation server; `token_sha256` in hexadecimal."""

    name: str
    roles: tuple[str, ...]
    token_sha256: str


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """What the server is told. `studies` is a folder or the URL of a DICOMweb origin."""

    studies: str
    folder: Path
    host: str = "127.0.0.1"
    port: int = 8070
    triton_url: str = ""
    modalities: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    users: tuple[LabelUser, ...] = ()
    max_upload_bytes: int = 2_000_000_000
    max_sessions: int = 20
    max_infers: int = 8
    studies_user: str = ""
    studies_password_file: str = ""
    studies_token_file: str = ""
    names: tuple[str, ...] = field(default=())

    @property
    def bundles(self) -> Path:
        """The working copies."""
        return self.folder / "bundles"

    @property
    def app(self) -> Path:
        """What MONAI Label takes for the folder of its app; its logs go there."""
        return self.folder / "app"


def prepare(settings: LabelSettings, bundles: Path) -> Path:
    """Make or renew the folder; returns the file of settings in it, which only its owner reads.

    Raises ConfigError for a bundle that is not there, or a host that strangers reach without users.
    """
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.users:
        raise ConfigError(
            f"label.host {settings.host} can be reached from elsewhere, and there are no users",
            hint="name users with tokens, or listen on 127.0.0.1",
        )
    for folder in (settings.app / "logs", settings.bundles):
        folder.mkdir(parents=True, exist_ok=True)
    _link(settings.app / "main.py", APP / "main.py")
    for name in settings.names or _bundles_in(bundles):
        copy_bundle(bundles / name, settings.bundles / name, settings.folder / "superseded")
    path = settings.folder / SETTINGS
    write_atomically(path, [json.dumps(_told(settings), indent=2).encode()])
    path.chmod(0o600)
    return path


def copy_bundle(source: Path, copy: Path, superseded: Path) -> None:
    """Make the working copy, or renew one of an older bundle.

    A copy whose weights were trained since is moved to `superseded`, not lost.

    Raises ConfigError if there is no such bundle.
    """
    if not (source / "configs/dicom.json").is_file():
        raise ConfigError(f"{source} is no bundle", hint="see bundles/README.md")
    now = _state_of(source)
    before = _copied_from(copy)
    if before.get("source") == now:
        return
    if copy.exists():
        if before and _state_of(copy) != before["source"]:
            superseded.mkdir(parents=True, exist_ok=True)
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            copy.rename(superseded / f"{copy.name}-{stamp}")
        else:
            shutil.rmtree(copy)
    made = copy.with_name(f".{copy.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(source, made, ignore=_NOT_COPIED)
    write_atomically(made / COPIED_FROM, [json.dumps({"source": now}).encode()])
    made.rename(copy)


def _bundles_in(folder: Path) -> Sequence[str]:
    found = sorted(each.parent.parent.name for each in folder.glob("*/configs/dicom.json"))
    if not found:
        raise ConfigError(f"no bundle in {folder.absolute()}", hint="see label.bundles")
    return found


def _state_of(bundle: Path) -> dict[str, str]:
    """Hashes of what makes a bundle answer as it does."""
    files = [*bundle.glob("configs/*.json"), *bundle.glob("models/*.pt")]
    files += bundle.glob("models/calibration.json")
    return {
        str(path.relative_to(bundle)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def _copied_from(copy: Path) -> dict[str, Any]:
    path = copy / COPIED_FROM
    if not path.is_file():
        return {}
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _told(settings: LabelSettings) -> dict[str, Any]:
    values = asdict(settings)
    del values["studies"], values["names"]
    return {**values, "folder": str(settings.folder), "bundles": str(settings.bundles)}

"""OHIF as its makers publish it: one npm package, known by its hash, unpacked into a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wetread.environments import in_turn, make_empty, read_stamp, run_tool, write_stamp
from wetread.errors import ConfigError

DEFAULT_FOLDER = Path(".cache/ohif")
PIN = Path(__file__).with_name("ohif.json")
STAMP = "wetread-viewer.json"
_PURPOSE = "the viewer"
_TOP = PurePosixPath("package/dist")
# What runs networks in the browser, which downloads them; 136 MB.
_LEFT_OUT = "ort"
_MAX_BYTES = 500_000_000


@dataclass(frozen=True, slots=True)
class Pin:
    """One release; `integrity` is as npm writes it: sha512- and the digest in base 64."""

    package: str
    version: str
    integrity: str


def pinned() -> Pin:
    """The release that this wetread serves."""
    return Pin(**json.loads(PIN.read_text(encoding="utf-8")))


def open_viewer(folder: Path = DEFAULT_FOLDER) -> Path:
    """The folder of OHIF's files that `install_viewer` made there.

    Raises ConfigError if there is none, or if it is not whole or of another release.
    """
    found = _whole(folder.absolute())
    if found is None:
        raise ConfigError(
            f"{folder.absolute()} holds no OHIF {pinned().version}",
            hint="fetch it: wetread viewer install",
        )
    return found


def install_viewer(folder: Path = DEFAULT_FOLDER) -> Path:
    """Fetch OHIF by npm into `folder` unless it is there; gives the folder of its files.

    Two callers at once take turns.

    Raises ConfigError if npm fails, or if what it brings is not what the pin says.
    """
    folder = folder.absolute()
    with in_turn(folder.parent):
        found = _whole(folder)
        if found is not None:
            return found
        with tempfile.TemporaryDirectory() as temporary:
            archive = _fetch(pinned(), Path(temporary))
            make_empty(folder, STAMP, _PURPOSE)
            files = unpack(archive, folder)
        write_stamp(folder, STAMP, PIN, {"files": files})
    return open_viewer(folder)


def check_integrity(archive: Path, pin: Pin) -> None:
    """Raises ConfigError if the file is not the one that the pin names."""
    digest = hashlib.sha512(archive.read_bytes()).digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != pin.integrity:
        raise ConfigError(
            f"{pin.package} {pin.version} has the hash {found}, expected {pin.integrity}",
            hint="another file came than was published; ask who runs your package registry",
        )


def unpack(archive: Path, folder: Path) -> int:
    """Unpack what is served, without source maps; gives the number of files.

    Raises ConfigError for an archive that has links, leads out of the folder or is too large.
    """
    written = size = 0
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            size += member.size
            if size > _MAX_BYTES:
                raise ConfigError(
                    f"{archive.name} unpacks to more than {_MAX_BYTES} bytes",
                    hint="that is no release of OHIF",
                )
            place = _place(member)
            content = members.extractfile(member) if place else None
            if place is None or content is None:
                continue
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
            written += 1
    return written


def _place(member: tarfile.TarInfo) -> PurePosixPath | None:
    """Where a member is written to; None for what is not served."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
        raise ConfigError(
            f"the package holds {member.name!r}, which is no plain file of it",
            hint="that is no release of OHIF",
        )
    if not member.isfile() or _TOP not in path.parents or path.suffix == ".map":
        return None
    place = path.relative_to(_TOP)
    return None if place.parts[0] == _LEFT_OUT else place


def _fetch(pin: Pin, folder: Path) -> Path:
    run_tool(
        [
            *("npm", "pack", f"{pin.package}@{pin.version}"),
            *("--ignore-scripts", "--silent", "--pack-destination", folder),
        ],
        "it needs npm, and a package registry that it can reach",
    )
    found = sorted(folder.glob("*.tgz"))
    if len(found) != 1:
        raise ConfigError(f"npm pack left {len(found)} files", hint="is npm's version 7 or newer?")
    check_integrity(found[0], pin)
    return found[0]


def _whole(folder: Path) -> Path | None:
    stamp = read_stamp(folder, STAMP, PIN)
    if stamp is None:
        return None
    files = sum(each.is_file() for each in folder.rglob("*")) - 1
    return folder if files == stamp.get("files") else None

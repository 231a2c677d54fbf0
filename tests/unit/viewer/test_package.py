"""OHIF's package: the one that is pinned, unpacked without what is not served, or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from wetread.errors import ConfigError
from wetread.viewer import package
from wetread.viewer.package import Pin, check_integrity, install_viewer, open_viewer, unpack

FILES = {
    "package/package.json": b"{}",
    "package/dist/index.html": b"<html>",
    "package/dist/assets/logo.svg": b"<svg>",
    "package/dist/app.js": b"1",
    "package/dist/app.js.map": b"2",
    "package/dist/ort/ort.wasm": b"3",
}


def pack(path: Path, files: Mapping[str, bytes], *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in others:
            archive.addfile(member)
    return path


def integrity_of(path: Path) -> str:
    digest = hashlib.sha512(path.read_bytes()).digest()
    return f"sha512-{base64.b64encode(digest).decode()}"


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that packs this archive, and counts how often it is asked."""
    archive = pack(tmp_path / "ohif.tgz", FILES)
    program = tmp_path / "bin/npm"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f'for each; do last=$each; done\ncp {archive} "$last"/x.tgz\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    pin = Pin("@ohif/app", "3.13.2", integrity_of(archive))
    monkeypatch.setattr(package, "pinned", lambda: pin)
    return tmp_path / "asked"


def test_it_is_fetched_once_and_holds_what_is_served(npm: Path, tmp_path: Path) -> None:
    """Without source maps, and without what runs networks in a browser."""
    folder = tmp_path / "ohif"
    for _ in range(2):
        assert install_viewer(folder) == folder
    served = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}
    assert served == {"index.html", "assets/logo.svg", "app.js", package.STAMP}
    [asked] = npm.read_text().splitlines()
    assert asked.startswith("pack @ohif/app@3.13.2 --ignore-scripts")


def test_one_that_lost_a_file_is_fetched_again(npm: Path, tmp_path: Path) -> None:
    folder = install_viewer(tmp_path / "ohif")
    (folder / "app.js").unlink()
    with pytest.raises(ConfigError, match=r"holds no OHIF 3\.13\.2"):
        open_viewer(folder)
    install_viewer(folder)
    assert (folder / "app.js").is_file()
    assert len(npm.read_text().splitlines()) == 2


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.tgz", FILES)
    pin = Pin("@ohif/app", "3.13.2", integrity_of(archive))
    check_integrity(archive, pin)
    pack(archive, {**FILES, "package/dist/app.js": b"other"})
    with pytest.raises(ConfigError, match=r"@ohif/app 3.13.2 has the hash sha512-.*, expected"):
        check_integrity(archive, pin)


def test_a_folder_of_others_is_left_alone(npm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ohif"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        install_viewer(folder)
    assert (folder / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["package/dist/../../x.js", "/etc/x.js"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "x.tgz", {name: b"1"})
    with pytest.raises(ConfigError, match="no plain file of it"):
        unpack(archive, tmp_path / "in/ohif")
    assert not list((tmp_path / "in").rglob("*"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("package/dist/x.js")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = pack(tmp_path / "x.tgz", {}, link)
    with pytest.raises(ConfigError, match="no plain file of it"):
        unpack(archive, tmp_path / "ohif")


def test_one_that_grows_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_MAX_BYTES", 10)
    archive = pack(tmp_path / "x.tgz", {"package/dist/x.js": bytes(11)})
    with pytest.raises(ConfigError, match="more than 10 bytes"):
        unpack(archive, tmp_path / "ohif")


def test_the_pin_is_one_release_with_its_hash() -> None:
    pin = package.pinned()
    assert pin.package == "@ohif/app"
    assert len(base64.b64decode(pin.integrity.removeprefix("sha512-"), validate=True)) == 64

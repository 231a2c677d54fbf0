"""A bundle from elsewhere comes in whole and vouched for, or not at all, and nothing of it runs."""

from __future__ import annotations

import ast
import io
import json
import pickle
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import monai.handlers.checkpoint_loader
import pytest
import torch
from packaging.version import Version

from conftest import ROOT
from wetread.errors import ConfigError, InputError, WetreadError
from wetread.models import importing
from wetread.models.importing import import_bundle
from wetread.models.manifest import check_seal, seal
from wetread.models.signing import make_keys, sign


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_keys(tmp_path / "ward")
    return tmp_path / "ward"


@pytest.fixture
def sent(tmp_path: Path, key: Path) -> Path:
    """A small bundle, signed. Its config would leave a file if anything of it were evaluated."""
    bundle = tmp_path / "sent" / "spleen"
    marker = tmp_path / "it_was_run"
    configs = {
        "metadata.json": {"version": "1.0.0"},
        "inference.json": {
            "imports": ["$import os"],
            "network_def": {"_target_": "some_library.Net"},
            "x": f"$open({str(marker)!r}, 'w')",
        },
    }
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    for name, content in configs.items():
        (bundle / "configs" / name).write_text(json.dumps(content), encoding="utf-8")
    torch.save({"weight": torch.ones(2)}, bundle / "models/model.pt")
    sign(bundle, key)
    return bundle


@pytest.fixture
def bring(tmp_path: Path, key: Path) -> Callable[..., importing.Imported]:
    """Import with the trusted public key, unless told otherwise."""

    def brought(source: Path, **changes: object) -> importing.Imported:
        trusted = changes.pop("trusted", [key.with_name("ward.pub")])
        try:
            return import_bundle(source, tmp_path / "bundles", trusted, **changes)  # type: ignore[arg-type]
        finally:
            assert not (tmp_path / "it_was_run").exists()
            assert [*tmp_path.glob("bundles/.*")] == []

    return brought


def zipped(bundle: Path, target: Path) -> Path:
    return Path(shutil.make_archive(str(target), "zip", bundle.parent, bundle.name))


def tarred(bundle: Path, target: Path) -> Path:
    return Path(shutil.make_archive(str(target), "gztar", bundle.parent, bundle.name))


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_a_signed_bundle_comes_in(bring, sent: Path, tmp_path: Path, form: str) -> None:
    makers = {"folder": lambda one, _: one, "zip": zipped, "tar": tarred}
    found = bring(makers[form](sent, tmp_path / "archive"))
    assert found.bundle == tmp_path / "bundles/spleen"
    assert found.key == tmp_path / "ward.pub"
    assert (found.modules, found.expressions, found.scripts) == (("some_library",), 2, ())
    check_seal(found.bundle)
    names = {path.relative_to(sent) for path in sent.rglob("*")}
    assert {path.relative_to(found.bundle) for path in found.bundle.rglob("*")} == names


def test_an_archive_without_a_folder_is_named_by_itself(bring, sent: Path, tmp_path: Path) -> None:
    flat = Path(shutil.make_archive(str(tmp_path / "liver"), "zip", sent))
    assert bring(flat).bundle.name == "liver"


def test_a_changed_file_is_refused(bring, sent: Path) -> None:
    (sent / "configs/metadata.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"configs/metadata\.json differs from SHA256SUMS"):
        bring(sent)


def test_a_file_that_was_put_in_is_refused(bring, sent: Path) -> None:
    (sent / "configs/more.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"configs/more\.json is not in SHA256SUMS"):
        bring(sent)


@pytest.mark.parametrize("is_vouched_for", [False, True])
def test_what_no_manifest_covers_does_not_come_in(
    bring, sent: Path, key: Path, is_vouched_for: bool
) -> None:
    beside = ["eval/report.html", "models/checkpoint_epoch=3.pt", "models/runs/log", ".hidden.py"]
    for name in beside:
        (sent / name).parent.mkdir(parents=True, exist_ok=True)
        (sent / name).write_bytes(b"not a checkpoint")
    found = bring(sent, vouch=key if is_vouched_for else None)
    assert set(found.left_out) == set(beside)
    files = {path.name for path in found.bundle.rglob("*") if path.is_file()}
    configs = {"metadata.json", "inference.json"}
    assert files == {*configs, "model.pt", "SHA256SUMS", "SHA256SUMS.sig"}


def test_a_manifest_that_was_made_anew_is_not_signed(bring, sent: Path) -> None:
    """Who changes a file and seals again has no key."""
    signature = (sent / "SHA256SUMS.sig").read_bytes()
    (sent / "configs/metadata.json").write_text("{}", encoding="utf-8")
    seal(sent)
    with pytest.raises(ConfigError, match="it is not signed"):
        bring(sent)
    (sent / "SHA256SUMS.sig").write_bytes(signature)
    with pytest.raises(ConfigError, match="none of 1 trusted keys has signed it"):
        bring(sent)


def test_another_key_is_not_trusted(bring, sent: Path, tmp_path: Path) -> None:
    public = make_keys(tmp_path / "stranger")
    with pytest.raises(ConfigError, match="none of 1 trusted keys has signed it"):
        bring(sent, trusted=[public])
    with pytest.raises(ConfigError, match="none of 0 trusted keys has signed it"):
        bring(sent, trusted=[])
    assert bring(sent, trusted=[public, tmp_path / "ward.pub"]).key == tmp_path / "ward.pub"


def test_what_nobody_signed_can_be_vouched_for_here(bring, sent: Path, key: Path) -> None:
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        (sent / name).unlink()
    with pytest.raises(ConfigError, match="no SHA256SUMS") as caught:
        bring(sent)
    assert "--vouch" in caught.value.hint
    found = bring(sent, vouch=key)
    assert (found.bundle / "SHA256SUMS.sig").is_file()
    assert not (sent / "SHA256SUMS").exists()
    assert bring(found.bundle, replace=True).key.name == "ward.pub"


def test_a_bundle_that_is_there_is_replaced_only_on_request(bring, sent: Path) -> None:
    bring(sent)
    with pytest.raises(ConfigError, match="is there already"):
        bring(sent)
    bring(sent, replace=True)


OUTSIDE = ["../evil.json", "/tmp/evil.json", "spleen/../../evil.json", "spleen\\..\\..\\evil"]  # noqa: S108


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_no_member_lies_outside(bring, sent: Path, tmp_path: Path, name: str, form: str) -> None:
    if form == "zip":
        archive = zipped(sent, tmp_path / "archive")
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(name, "{}")
    else:
        archive = tmp_path / "archive.tar"
        with tarfile.open(archive, "w") as file:
            file.add(sent, sent.name)
            member = tarfile.TarInfo(name)
            member.size = 2
            file.addfile(member, io.BytesIO(b"{}"))
    before = {path for path in tmp_path.rglob("*") if "bundles" not in path.parts}
    with pytest.raises(InputError, match="would lie outside"):
        bring(archive)
    assert {path for path in tmp_path.rglob("*") if "bundles" not in path.parts} == before
    assert not (tmp_path / "bundles/spleen").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_a_tar_holds_plain_files_only(bring, sent: Path, tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as file:
        file.add(sent, sent.name)
        member = tarfile.TarInfo("spleen/configs/passwd")
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    with pytest.raises(InputError, match=r"configs/passwd.*no plain file"):
        bring(archive)


def test_a_link_in_a_zip_or_a_folder_is_refused(bring, sent: Path, tmp_path: Path) -> None:
    archive = zipped(sent, tmp_path / "archive")
    with zipfile.ZipFile(archive, "a") as file:
        link = zipfile.ZipInfo("spleen/configs/passwd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="no plain file"):
        bring(archive)
    (sent / "configs/passwd").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="no plain file"):
        bring(sent)


def test_a_member_that_comes_twice_is_refused(bring, sent: Path, tmp_path: Path) -> None:
    archive = zipped(sent, tmp_path / "archive")
    with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("spleen/configs/metadata.json", "{}")
    with pytest.raises(InputError, match="comes twice"):
        bring(archive)


def test_an_archive_that_swells_is_refused(bring, sent: Path, tmp_path: Path, monkeypatch) -> None:
    """10 MB of zeros in 10 kB, where 1 MB is allowed."""
    monkeypatch.setattr(importing, "MOST_BYTES", 1 << 20)
    (sent / "models/zeros.bin").write_bytes(bytes(10 << 20))
    archive = zipped(sent, tmp_path / "archive")
    assert archive.stat().st_size < 100_000
    with pytest.raises(InputError, match="more than 1048576 bytes, at spleen/models/zeros"):
        bring(archive)


def test_very_many_files_are_refused(bring, sent: Path, monkeypatch) -> None:
    monkeypatch.setattr(importing, "MOST_FILES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        bring(sent)


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 cut"])
def test_what_is_no_archive_is_named(bring, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.zip").write_bytes(content)
    with pytest.raises(WetreadError, match=r"it\.zip"):
        bring(tmp_path / "it.zip")


class Running:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.marker), "w")


def test_weights_that_would_run_code_are_refused(
    bring, sent: Path, key: Path, tmp_path: Path
) -> None:
    (sent / "models/model.pt").write_bytes(pickle.dumps(Running(tmp_path / "it_was_run")))
    sign(sent, key)
    with pytest.raises(ConfigError, match=r"models/model\.pt does not load as weights only"):
        bring(sent)


# -- known advisories against MONAI's own loading of bundles -----------------------------------

# GHSA or CVE → the names of MONAI that it is about; none of them is used here.
ADVISORIES = {
    "CVE-2025-58755, CVE-2026-21851, GHSA-x4pc-gj5h-3pq7: archives write outside": (
        "monai.bundle.download",
        "monai.bundle.load",
        "monai.apps.extractall",
        "monai.apps.download_and_extract",
    ),
    "CVE-2025-58757, GHSA-89gg-p5r5-q6r4: pickles are run": (
        "monai.data.utils.pickle_operations",
        "monai.auto3dseg",
        "monai.apps.auto3dseg",
    ),
    "GHSA-8f32-8649-rv87: plans of nnU-Net are pickles": ("monai.apps.nnunet",),
    "GHSA-873f-pvrv-4x83: configs run when a bundle is loaded": ("monai.bundle.create_workflow",),
}
SOURCES = sorted(
    path
    for folder in ("apps/wetread", "apps/annotate")
    for path in (ROOT / folder).rglob("*.py")
    if ".mypy_cache" not in path.parts
)


def names_used(tree: ast.AST) -> set[str]:
    """Modules and what is taken from them, with dots."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return found


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_an_advisory_is_about_what_is_not_used(advisory: str) -> None:
    used = set().union(*(names_used(ast.parse(path.read_bytes())) for path in SOURCES))
    for name in ADVISORIES[advisory]:
        assert not {each for each in used if each == name or each.startswith(f"{name}.")}


def test_weights_are_loaded_as_weights_only_everywhere() -> None:
    """CVE-2025-58756, GHSA-vm9c-7j6g-c7mm: MONAI's loader, too, in the release that is pinned."""
    loads = [
        (path.name, {word.arg: ast.unparse(word.value) for word in node.keywords})
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert len(loads) >= 5
    assert [name for name, words in loads if words.get("weights_only") != "True"] == []
    loader = Path(monai.handlers.checkpoint_loader.__file__).read_text(encoding="utf-8")
    assert loader.count("torch.load(") == loader.count("weights_only=True)")
    assert Version(version("monai")) >= Version("1.6.1")


def test_no_pickle_is_read() -> None:
    calls = {
        ast.unparse(node.func)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"pickle.load", "pickle.loads", "joblib.load", "dill.load", "numpy.load"}

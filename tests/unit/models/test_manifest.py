"""Any change of a bundle's files is seen, by ourselves and by sha256sum."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wetread.errors import ConfigError
from wetread.models.manifest import check_seal, seal


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for name in ("configs/a.json", "models/model.pt", "models/checkpoint_epoch=1.pt"):
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    seal(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_sha256sum_agrees(bundle: Path) -> None:
    run = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["configs/a.json: OK", "models/model.pt: OK"]


def test_a_whole_bundle_and_one_without_manifest_pass(bundle: Path, tmp_path: Path) -> None:
    check_seal(bundle)
    check_seal(tmp_path)


def test_a_changed_file_is_named(bundle: Path) -> None:
    (bundle / "models/model.pt").write_text("other")
    with pytest.raises(ConfigError, match=r"models/model\.pt differs from SHA256SUMS") as caught:
        check_seal(bundle)
    assert "wetread bundle seal bundle" in caught.value.hint


def test_a_lost_and_a_new_file_are_named(bundle: Path) -> None:
    (bundle / "models/model.pt").rename(bundle / "models/new.pt")
    with pytest.raises(ConfigError, match=r"models/new\.pt is not in"):
        check_seal(bundle)
    (bundle / "models/new.pt").unlink()
    with pytest.raises(ConfigError, match=r"models/model\.pt is absent"):
        check_seal(bundle)


def test_a_broken_manifest_is_named(bundle: Path) -> None:
    (bundle / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(ConfigError, match="'nonsense' is no line"):
        check_seal(bundle)

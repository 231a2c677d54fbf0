"""The folder of the annotation server: copies that may be trained, and what the server is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotated import NAME, write_bundle
from wetread.errors import ConfigError
from wetread.label.environment import APP
from wetread.label.workspace import LabelSettings, LabelUser, copy_bundle, prepare

USER = LabelUser("anna", ("annotator",), "ab" * 32)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundles")


def settings(folder: Path, **changes: object) -> LabelSettings:
    return LabelSettings(studies="studies", folder=folder / "annotations", **changes)  # type: ignore[arg-type]


def copied(bundle: Path, folder: Path) -> Path:
    copy = folder / "annotations" / NAME
    copy_bundle(bundle, copy, folder / "superseded")
    return copy


class TestCopies:
    def test_a_copy_has_everything_but_what_trainings_leave(self, bundle, tmp_path):
        (bundle / "models/runs").mkdir()
        (bundle / "models/checkpoint_epoch=3.pt").write_bytes(b"large")
        copy = copied(bundle, tmp_path)
        assert (copy / "models/model.pt").read_bytes() == (bundle / "models/model.pt").read_bytes()
        assert {each.name for each in (copy / "models").iterdir()} == {"model.pt"}
        assert (copy / "configs/dicom.json").is_file()

    def test_trained_weights_outlive_a_restart(self, bundle, tmp_path):
        copy = copied(bundle, tmp_path)
        (copy / "models/model.pt").write_bytes(b"trained")
        assert (copied(bundle, tmp_path) / "models/model.pt").read_bytes() == b"trained"

    def test_a_newer_bundle_takes_the_place_of_an_untouched_copy(self, bundle, tmp_path):
        copied(bundle, tmp_path)
        (bundle / "models/model.pt").write_bytes(b"promoted")
        assert (copied(bundle, tmp_path) / "models/model.pt").read_bytes() == b"promoted"
        assert not (tmp_path / "superseded").exists()

    def test_trained_weights_are_set_aside_for_a_newer_bundle_not_lost(self, bundle, tmp_path):
        copy = copied(bundle, tmp_path)
        (copy / "models/model.pt").write_bytes(b"trained")
        (bundle / "models/model.pt").write_bytes(b"promoted")
        assert (copied(bundle, tmp_path) / "models/model.pt").read_bytes() == b"promoted"
        [kept] = (tmp_path / "superseded").iterdir()
        assert kept.name.startswith(f"{NAME}-")
        assert (kept / "models/model.pt").read_bytes() == b"trained"


class TestPreparing:
    def test_the_server_is_told_all_but_what_is_on_its_command_line(self, bundle, tmp_path):
        """In a file that its owner alone may read: it has the hashes of tokens."""
        file = prepare(settings(tmp_path, users=(USER,)), bundle.parent)
        assert file.stat().st_mode & 0o777 == 0o600
        told = json.loads(file.read_text())
        assert told["users"] == [
            {"name": "anna", "roles": ["annotator"], "token_sha256": "ab" * 32}
        ]
        assert told["bundles"] == str(tmp_path / "annotations/bundles")
        assert (tmp_path / "annotations/app/main.py").resolve() == (APP / "main.py").resolve()

    def test_strangers_need_users(self, bundle, tmp_path):
        with pytest.raises(ConfigError, match=r"0\.0\.0\.0 can be reached from elsewhere"):
            prepare(settings(tmp_path, host="0.0.0.0"), bundle.parent)
        assert prepare(settings(tmp_path, host="0.0.0.0", users=(USER,)), bundle.parent).is_file()

    def test_a_bundle_that_is_not_there(self, bundle, tmp_path):
        with pytest.raises(ConfigError, match="no_such is no bundle"):
            prepare(settings(tmp_path, names=("no_such",)), bundle.parent)
        with pytest.raises(ConfigError, match="no bundle in"):
            prepare(settings(tmp_path), tmp_path / "empty")

"""`wetread label …`: what is wrong is said with what to do."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from conftest import ROOT
from wetread.config import parse_config
from wetread.label.environment import DEFAULT_FOLDER

from .conftest import Run


def test_a_token_is_shown_once_and_its_hash_goes_into_the_settings(wetread: Run) -> None:
    ended = wetread("label", "token", "anna", "--role", "reviewer")
    assert ended.exit_code == 0
    users = parse_config(tomllib.loads(ended.out)).users
    token = ended.err.strip().rpartition(" ")[2]
    assert users["anna"].roles == ("reviewer",)
    assert users["anna"].token_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token not in ended.out


def test_a_role_that_there_is_not(wetread: Run) -> None:
    assert wetread("label", "token", "anna", "--role", "king").is_error(
        2, "users.anna.roles", "king"
    )


def test_serving_needs_studies(wetread: Run, tmp_path: Path) -> None:
    assert wetread("label", "serve", "--folder", tmp_path).is_error(2, "no studies to annotate")


def test_serving_needs_the_environment(wetread: Run, tmp_path: Path) -> None:
    ended = wetread("label", "serve", "--studies", tmp_path, "--environment", tmp_path / "none")
    assert ended.is_error(2, "holds no MONAI Label of this wetread")


@pytest.mark.timeout(60)
def test_the_doctor_fails_where_something_is_wrong(wetread: Run, tmp_path: Path) -> None:
    """As JSON for a program, and by its exit code."""
    ended = wetread(
        *("label", "doctor", "--studies", tmp_path / "none", "--json"),
        *("--environment", ROOT / DEFAULT_FOLDER),
    )
    assert ended.exit_code == 2
    found = {each["what"]: each for each in ended.json}
    assert found["environment"]["ok"]
    assert not found["studies"]["ok"]
    assert "make it, and put NIfTI files there" in found["studies"]["hint"]


def test_collecting_needs_an_archive(wetread: Run, tmp_path: Path) -> None:
    settings = tmp_path / "wetread.toml"
    settings.write_text("[label]\nstudies = 'a folder'\n", encoding="utf-8")
    ended = wetread("label", "collect", "--config", settings)
    assert ended.is_error(2, "label.studies names no archive")

"""The walk-through for a new classifier works as it stands: one recipe and no line of Python."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from command_line import in_process
from conftest import ROOT
from docs.pages import text_of
from labelled import write_labelled
from wetread.bundle_components.data import labelled_files
from wetread.models import recipe as recipes

SECTION = "## A new classifier from one file"


def section() -> str:
    return text_of(ROOT / "bundles" / "README.md").partition(SECTION)[2].partition("\n## ")[0]


def block(word: str) -> str:
    """The first block of the section that has the word."""
    return next(
        each for each in re.findall(r"```\w*\n(.*?)```", section(), re.DOTALL) if word in each
    )


def shown_recipe() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(block('"title"'))
    return found


def test_every_key_of_a_recipe_is_described() -> None:
    rows = [line.split("|")[1:3] for line in section().splitlines() if line.startswith("| `")]
    described = {key: must.strip() for cell, must in rows for key in re.findall(r"`(\w+)`", cell)}
    assert {key for key, must in described.items() if must == "yes"} == set(recipes._REQUIRED)
    assert {key for key, must in described.items() if must == "no"} == set(recipes._OPTIONAL)


@pytest.mark.timeout(120)
def test_the_commands_of_the_walk_through_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a small network and few pictures, so that it takes seconds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").mkdir()
    shown = shown_recipe()
    train = {**shown["train"], "backbone": "small_cnn", "pretrained": False, "epochs": 1}
    quick = {**shown, "train": {**train, "image_size": 64}}
    (tmp_path / "fracture.json").write_text(json.dumps(quick), encoding="utf-8")
    folder = write_labelled(tmp_path / "FOLDER", [each["label"] for each in quick["classes"]])
    study = folder / "val" / "fracture_0.png"
    lines_of = block("bundle new")
    lines = lines_of.strip().replace("STUDY", str(study)).splitlines()
    assert [line.split()[1] for line in lines] == ["bundle", "bundle", "bundle", "infer"]
    for line in lines:
        ended = in_process(capsys, monkeypatch, *line.split()[1:])
        assert ended.exit_code == 0, (line, ended.err)
    [found] = (tmp_path / "OUT").iterdir()
    assert set(json.loads(found.read_text(encoding="utf-8"))["probabilities"]) == {
        "none",
        "fracture",
    }


def test_the_lines_of_labels_csv_are_as_they_are_read(tmp_path: Path) -> None:
    csv = block("file,")
    (tmp_path / "labels.csv").write_text(csv, encoding="utf-8")
    (tmp_path / "images").mkdir()
    for name in re.findall(r"images/\w+\.png", csv):
        (tmp_path / name).write_text(name)
    labels = [each["label"] for each in shown_recipe()["classes"]]
    assert [each["label"] for each in labelled_files(tmp_path, "all", labels)] == [0, 1]

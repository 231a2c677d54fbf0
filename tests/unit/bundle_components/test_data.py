"""Which cases a folder in Decathlon form has, by its splits or by a fixed rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decathlon import name_of, write_decathlon
from wetread.bundle_components.data import DataFolderError, decathlon_cases


def names(folder: Path, split: str) -> list[str]:
    return [Path(case["image"]).name for case in decathlon_cases(folder, split)]


def test_splits_json_says_which_cases(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "data", 4, {"train": [2, 0], "val": [3]})
    assert names(folder, "train") == [name_of(2), name_of(0)]
    assert names(folder, "val") == [name_of(3)]
    assert len(decathlon_cases(folder, "all")) == 4


def test_image_and_label_are_files_that_are_there(tmp_path: Path) -> None:
    [case, *_] = decathlon_cases(write_decathlon(tmp_path / "data", 2), "all")
    assert Path(case["image"]).is_file()
    assert Path(case["label"]).is_file()
    assert Path(case["label"]).parent.name == "labelsTr"


def test_without_splits_every_fifth_case_is_for_validation(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "data", 11)
    assert names(folder, "val") == [name_of(0), name_of(5), name_of(10)]
    assert not set(names(folder, "val")) & set(names(folder, "train"))
    assert len(names(folder, "train")) == 8


@pytest.mark.parametrize(
    ("break_it", "split", "message"),
    [
        (
            lambda folder: (folder / "dataset.json").unlink(),
            "all",
            r"dataset\.json: .*No such",
        ),
        (
            lambda folder: (folder / "dataset.json").write_text('{"training": []}'),
            "all",
            r"dataset\.json: training must be a list",
        ),
        (lambda folder: (folder / "dataset.json").write_text("["), "all", r"dataset\.json: "),
        (lambda folder: None, "test", r"splits\.json has no 'test', only train, val"),
        (lambda folder: (folder / "splits.json").unlink(), "test", r"has no splits\.json"),
        (
            lambda folder: (folder / "splits.json").write_text(json.dumps({"val": ["gone.nii"]})),
            "val",
            r"val names 1 files that dataset\.json does not list, such as gone\.nii",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, break_it, split: str, message: str) -> None:
    folder = write_decathlon(tmp_path / "data", 2, {"train": [0], "val": [1]})
    break_it(folder)
    with pytest.raises(DataFolderError, match=message):
        decathlon_cases(folder, split)

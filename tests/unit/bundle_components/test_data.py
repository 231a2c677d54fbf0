"""Which cases a folder in Decathlon form has, by its splits or by a fixed rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decathlon import name_of, write_decathlon
from wetread.bundle_components.data import (
    DataFolderError,
    decathlon_cases,
    is_held_out,
    labelled_files,
    usual_split,
)


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


def labelled(folder: Path, *lines: str, files: tuple[str, ...] = ("a", "b", "c")) -> Path:
    folder.mkdir(exist_ok=True)
    for name in files:
        (folder / name).write_text(name)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_labels_become_the_numbers_of_their_classes(tmp_path: Path) -> None:
    lines = ("file,label,split,age", "a,ill,train,40", "b,well,train,50", "c,ill,val,60")
    folder = labelled(tmp_path, *lines)
    found = labelled_files(folder, "train", ("well", "ill"))
    assert [(each["file"], each["label"], each["age"]) for each in found] == [
        ("a", 1, "40"),
        ("b", 0, "50"),
    ]
    assert len(labelled_files(folder, "all", ("well", "ill"))) == 3


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    lines = ("file,label,split,patient", "a,ill,train,P1", "b,ill,val,P1", "c,ill,val,P2")
    message = r"group P1 is in train \(a\) and in val \(b\)"
    with pytest.raises(DataFolderError, match=message):
        labelled_files(labelled(tmp_path, *lines), "train", ("ill", "well"))


def test_a_split_may_be_kept_elsewhere(tmp_path: Path) -> None:
    folder = labelled(tmp_path, "file,label,split", "a,ill,train", "z,ill,test")
    assert len(labelled_files(folder, "train", ("ill", "well"))) == 1


def test_the_same_picture_under_two_names_is_refused(tmp_path: Path) -> None:
    folder = labelled(tmp_path, "file,label,split", "a,ill,train", "b,ill,val")
    (folder / "b").write_text("a")
    with pytest.raises(DataFolderError, match=r"the same picture is in train \(a\)"):
        labelled_files(folder, "train", ("ill", "well"))


def test_a_subject_may_be_a_folder_of_files(tmp_path: Path) -> None:
    """Its NIfTI files are what must not lie in two splits."""
    for name, content in (("P1", "one"), ("P2", "two"), ("P3", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ct.nii.gz").write_text(content)
    lines = ("file,label,split", "P1,ill,train", "P2,well,val")
    [found] = labelled_files(labelled(tmp_path, *lines, files=()), "train", ("well", "ill"))
    assert found["image"] == str(tmp_path / "P1")
    with pytest.raises(DataFolderError, match=r"the same picture is in train \(P1\)"):
        labelled_files(labelled(tmp_path, *lines, "P3,ill,val", files=()), "train", ("well", "ill"))


def test_without_a_split_a_patient_stays_together(tmp_path: Path) -> None:
    """About 70 % of 400 patients are for training, and both pictures of each with them."""
    names = tuple(f"P{patient}{view}" for patient in range(400) for view in "ab")
    lines = [f"{name},ill,{name[:-1]}" for name in names]
    folder = labelled(tmp_path, "file,label,patient", *lines, files=names)
    found = labelled_files(folder, "train", ("ill", "well"))
    patients = [each["patient"] for each in found]
    assert 0.64 < len(set(patients)) / 400 < 0.76
    assert len(patients) == 2 * len(set(patients))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("name,label", "a,ill"), "the columns file and label"),
        (("file,label,split", "a,dead,train"), "label 'dead' is none of ill, well"),
        (("file,label,split", "z,ill,val", "y,ill,val"), "names z and 1 more that are not there"),
        (("file,label,split", "a,ill,train"), "has no split 'val', only train"),
        (("file,label,split", "a,,train"), "a line without file or label"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    tmp_path: Path, lines: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataFolderError, match=message):
        labelled_files(labelled(tmp_path, *lines), "val", ("ill", "well"))


@pytest.mark.parametrize(
    ("splits", "usual"),
    [(("train", "val", "test"), "val"), (("train", "test"), "test"), (("train",), "all")],
)
def test_what_is_evaluated_if_nobody_says(
    tmp_path: Path, splits: tuple[str, ...], usual: str
) -> None:
    lines = [f"{name},ill,{split}" for name, split in zip("abc", splits, strict=False)]
    assert usual_split(labelled(tmp_path / "files", "file,label,split", *lines)) == usual
    numbers = {split: [number] for number, split in enumerate(splits)}
    assert usual_split(write_decathlon(tmp_path / "cases", 3, numbers)) == usual


def test_without_splits_every_case_is_evaluated(tmp_path: Path) -> None:
    assert usual_split(write_decathlon(tmp_path, 3)) == "all"


def test_one_in_five_is_held_out_and_always_the_same() -> None:
    """By name alone: another machine, or a list that has grown, holds out the same."""
    names = [f"1.2.840.{number}" for number in range(2000)]
    held_out = [name for name in names if is_held_out(name)]
    assert 0.17 < len(held_out) / len(names) < 0.23
    assert [is_held_out("hippocampus_007"), is_held_out("hippocampus_001")] == [True, False]

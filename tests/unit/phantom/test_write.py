"""A folder of synthetic studies: its list, its splits, and the truth about each."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import pytest

from wetread.errors import ConfigError, StorageError
from wetread.phantom.contrast import Modality
from wetread.phantom.recipe import LESION_CLASSES, Recipe
from wetread.phantom.write import Row, split_of, write_studies

FUSION = (Modality.T1, Modality.T2, Modality.FLAIR, Modality.CT)


def write(folder: Path, count: int = 1, form: str = "nifti", **changed: object) -> tuple[Row, ...]:
    words: dict[str, object] = {"modalities": FUSION, "matrix": 24, "slices": 12, **changed}
    return write_studies(Recipe(**words), count, folder, form, lambda *_: None)  # type: ignore[arg-type]


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_subject_is_a_folder_with_all_modalities(tmp_path: Path) -> None:
    """The form that training reads: one row a subject, four files on one grid."""
    write(tmp_path, 5)
    rows = listed(tmp_path)
    assert [row["label"] for row in rows] == list(LESION_CLASSES["head"])
    for row in rows:
        assert row["group"] == row["subject"] == row["file"]
        folder = tmp_path / row["file"]
        names = {path.name for path in folder.iterdir()}
        files = {f"{one.lower()}.nii.gz" for one in FUSION}
        assert names == {*files, "labels.nii.gz", "truth.json"}
        assert {nibabel.load(folder / one).shape for one in files} == {(24, 24, 12)}


def test_as_dicom_each_series_has_its_row(tmp_path: Path) -> None:
    write(tmp_path, 2, "dicom", modalities=(Modality.CT, Modality.T2, Modality.DX))
    rows = listed(tmp_path)
    assert [row["modality"] for row in rows] == ["CT", "T2", "DX"] * 2
    assert [len(list((tmp_path / row["file"]).iterdir())) for row in rows] == [12, 12, 1] * 2
    subjects = {row["subject"] for row in rows}
    assert all(len({r["split"] for r in rows if r["subject"] == one}) == 1 for one in subjects)


def test_a_radiograph_alone_is_a_picture_a_subject(tmp_path: Path) -> None:
    write(tmp_path, 3, anatomy="chest", modalities=(Modality.DX,))
    rows = listed(tmp_path)
    assert [row["label"] for row in rows] == ["none", "nodule", "consolidation"]
    assert all((tmp_path / row["file"]).suffix == ".png" for row in rows)


def test_the_truth_says_volumes_class_and_place(tmp_path: Path) -> None:
    [row] = write(tmp_path, lesion="haemorrhage", side="right")
    truth = json.loads((tmp_path / row.subject / "truth.json").read_text())
    assert (truth["label"], truth["lesion"]["kind"]) == ("haemorrhage", "haemorrhage")
    assert truth["lesion"]["centre_mm"][0] < 0
    structures = truth["structures"]
    assert structures["lesion"]["volume_ml"] == pytest.approx(truth["lesion"]["volume_ml"])
    assert float(row.lesion_ml) == pytest.approx(truth["lesion"]["volume_ml"], abs=0.001)
    assert 55 <= structures["lesion"]["tissue"]["hu"] <= 95
    assert 400 < structures["white matter"]["volume_ml"] < 900
    assert truth["grid"]["shape"] == [12, 24, 24]


def test_the_splits_are_shares_of_each_class() -> None:
    recipe = Recipe("head", FUSION)
    splits = [split_of(recipe, number) for number in range(70)]
    assert [splits.count(name) for name in ("train", "val", "test")] == [50, 10, 10]
    for place in range(5):
        of_class = splits[place::5]
        assert [of_class.count(name) for name in ("train", "val", "test")] == [10, 2, 2]


def test_the_same_seed_writes_the_same_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, 2, seed=9)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 2 * 6 + 1
    for path in files:
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_another_seed_writes_another_patient(tmp_path: Path) -> None:
    first, second = (write(tmp_path / str(seed), lesion="cyst", seed=seed)[0] for seed in (1, 2))
    assert first.lesion_ml != second.lesion_ml


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unknown_format_and_no_subjects_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no format 'jpeg'"):
        write(tmp_path, form="jpeg")
    with pytest.raises(ConfigError, match="0 subjects"):
        write(tmp_path, 0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write to .*file"):
        write(tmp_path / "file" / "out")

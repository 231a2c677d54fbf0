"""Corrections are whole or absent, read back as they were written, and refused with their file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from wetread.corrections import cases
from wetread.corrections.cases import (
    Correction,
    Review,
    holdout_of,
    read_corrections,
    rewrite_case,
    write_correction,
    write_holdout,
)
from wetread.errors import InputError, StorageError
from wetread.results import ModelIdentity

BUNDLE = "hippocampus"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MODEL = ModelIdentity(BUNDLE, "0.3.0", "ab" * 32)


def correction(case_id: str = "one", **changes: Any) -> Correction:
    made = Correction(
        case_id=case_id,
        series_instance_uid="1.2.3.4",
        study_instance_uid="1.2.3",
        annotator="ann",
        annotated_at=NOW,
        from_model=MODEL,
        subgroups={"sex": "F", "age": "60-69"},
        review=Review.CORRECTED,
        others={"seconds": 41.5},
    )
    return replace(made, **changes)


def image_of(values: np.ndarray[Any, Any], affine: Any = None) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine)


IMAGE = image_of(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
LABEL = image_of(np.ones((2, 3, 4), np.uint8))


def write(folder: Path, made: Correction) -> Correction:
    return write_correction(folder, BUNDLE, made, IMAGE, LABEL)


def test_a_correction_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path, correction())
    [found] = read_corrections(tmp_path, BUNDLE)
    assert found == written == correction(place=tmp_path / BUNDLE / "cases/one")
    assert np.array_equal(nibabel.load(found.image).get_fdata(), IMAGE.get_fdata())
    assert np.array_equal(nibabel.load(found.label).affine, LABEL.affine)


def test_a_label_that_began_empty_has_no_model(tmp_path: Path) -> None:
    write(tmp_path, correction(from_model=None))
    assert read_corrections(tmp_path, BUNDLE)[0].from_model is None


def test_the_oldest_correction_comes_first(tmp_path: Path) -> None:
    for number, name in enumerate("bca"):
        write(tmp_path, correction(name, annotated_at=NOW + timedelta(hours=number)))
    assert [each.case_id for each in read_corrections(tmp_path, BUNDLE)] == ["b", "c", "a"]


def test_the_same_correction_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name, correction()) for name in "xy")
    for file in ("image.nii.gz", "label.nii.gz", "case.json"):
        assert (one.place / file).read_bytes() == (other.place / file).read_bytes()


def test_a_folder_without_corrections_has_none(tmp_path: Path) -> None:
    assert read_corrections(tmp_path, BUNDLE) == ()
    assert holdout_of(tmp_path, BUNDLE) == frozenset()


def test_a_case_that_is_still_being_written_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole = cases.write_atomically

    def cut_short(path: Path, chunks: Any) -> None:
        if path.name == "case.json":
            raise StorageError("no room")
        write_whole(path, chunks)

    monkeypatch.setattr(cases, "write_atomically", cut_short)
    with pytest.raises(StorageError, match="no room"):
        write(tmp_path, correction())
    assert read_corrections(tmp_path, BUNDLE) == ()
    monkeypatch.setattr(cases, "write_atomically", write_whole)
    write(tmp_path, correction())
    assert len(read_corrections(tmp_path, BUNDLE)) == 1


def test_a_case_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path, correction())
    with pytest.raises(InputError, match="cases/one is there already"):
        write(tmp_path, correction())


def test_a_review_goes_on(tmp_path: Path) -> None:
    rewrite_case(replace(write(tmp_path, correction()), review=Review.APPROVED))
    assert read_corrections(tmp_path, BUNDLE)[0].review is Review.APPROVED


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "x" * 200])
def test_an_id_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no name for a folder"):
        write(tmp_path / "in", correction(name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (image_of(np.ones((2, 3, 3), np.uint8)), r"is \(2, 3, 4\), its label \(2, 3, 3\)"),
        (image_of(np.ones((2, 3, 4), np.uint8), np.diag([1, 2, 4, 1])), "differ by 1 mm"),
    ],
)
def test_a_label_on_another_grid_is_refused(tmp_path: Path, label: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_correction(tmp_path, BUNDLE, correction(), IMAGE, label)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / BUNDLE).write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*image\.nii\.gz"):
        write(tmp_path, correction())


def test_the_holdout_is_read_back(tmp_path: Path) -> None:
    write_holdout(tmp_path, BUNDLE, {"two", "one"})
    assert holdout_of(tmp_path, BUNDLE) == {"one", "two"}


@pytest.mark.parametrize("text", ['{"one": 1}', "[1]"])
def test_a_holdout_that_is_no_list_of_ids_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / BUNDLE).mkdir()
    (tmp_path / BUNDLE / "holdout.json").write_text(text)
    with pytest.raises(InputError, match=r"holdout\.json is no list of case ids"):
        holdout_of(tmp_path, BUNDLE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it.pop("annotator"), "annotator must be a text, got None"),
        (lambda it: it.update(series_instance_uid=7), "series_instance_uid must be a text, got 7"),
        (lambda it: it.update(annotated_at="today"), "annotated_at is 'today'"),
        (lambda it: it.update(annotated_at="2026-03-04T05:06:07"), "has no zone"),
        (lambda it: it.update(from_model="0.3.0"), "from_model must be an object or null"),
        (lambda it: it["from_model"].pop("version"), "version must be a text"),
        (lambda it: it.update(subgroups={"age": 63}), "subgroups must be texts by name"),
        (lambda it: it.update(review="done"), "review is 'done'"),
        (lambda it: it.update(case_id="two"), "case_id is 'two'"),
    ],
)
def test_a_case_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    path = write(tmp_path, correction()).place / "case.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=rf"case\.json.*{words}") as caught:
        read_corrections(tmp_path, BUNDLE)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["image.nii.gz", "label.nii.gz", "case.json"])
def test_a_case_without_one_of_its_files_is_refused(tmp_path: Path, name: str) -> None:
    (write(tmp_path, correction()).place / name).unlink()
    with pytest.raises(InputError, match=rf"cases/one.*{name}"):
        read_corrections(tmp_path, BUNDLE)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_case_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (write(tmp_path, correction()).place / "case.json").write_text(text)
    with pytest.raises(InputError, match=r"case\.json"):
        read_corrections(tmp_path, BUNDLE)


def test_a_case_that_is_taken_out_is_gone(tmp_path: Path) -> None:
    shutil.rmtree(write(tmp_path, correction()).place)
    assert read_corrections(tmp_path, BUNDLE) == ()

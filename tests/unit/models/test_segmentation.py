"""Dice, IoU, distances and volumes by arithmetic; intervals that are always the same."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from decathlon import name_of, write_decathlon
from tiny_model import NETWORK, TinyModel
from wetread.config import EmbeddedModel
from wetread.errors import InputError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.models.intervals import confidence_interval
from wetread.models.segmentation import (
    cases_in,
    evaluate_segmentation,
    score_segment,
)


def block(start: int, stop: int) -> NDArray[np.bool_]:
    """Planes `start` to `stop` of a grid of 20 × 10 × 10."""
    mask = np.zeros((20, 10, 10), bool)
    mask[start:stop, 2:8, 2:8] = True
    return mask


def test_two_blocks_that_overlap_by_half() -> None:
    """4 planes each, 2 shared: Dice 2·2/8, IoU 2/6; 36 voxels a plane of 3 mm³ each."""
    score = score_segment(block(4, 8), block(6, 10), (3.0, 1.0, 1.0))
    assert score.dice == pytest.approx(0.5)
    assert score.iou == pytest.approx(1 / 3)
    assert score.hd95_mm == pytest.approx(6.0)
    assert (score.volume_ml, score.reference_ml) == (pytest.approx(0.432), pytest.approx(0.432))


def test_the_same_mask_is_perfect() -> None:
    score = score_segment(block(4, 8), block(4, 8), (1.0, 1.0, 1.0))
    assert (score.dice, score.iou, score.hd95_mm) == (1.0, 1.0, 0.0)


def test_a_mask_that_is_rightly_empty_is_perfect_and_has_no_surface() -> None:
    score = score_segment(block(0, 0), block(0, 0), (1.0, 1.0, 1.0))
    assert (score.dice, score.iou, score.hd95_mm) == (1.0, 1.0, None)


def test_a_mask_that_is_wrongly_empty_is_0() -> None:
    score = score_segment(block(0, 0), block(4, 8), (1.0, 1.0, 1.0))
    assert (score.dice, score.iou, score.hd95_mm) == (0.0, 0.0, None)


def test_an_interval_holds_its_mean_and_shrinks_with_the_cases() -> None:
    few = confidence_interval([0.8, 0.9] * 5)
    many = confidence_interval([0.8, 0.9] * 500)
    assert few is not None
    assert many is not None
    assert few[0] < 0.85 < few[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 5
    assert confidence_interval([0.8, 0.9] * 5) == few
    assert confidence_interval([]) is None


@pytest.fixture
def model(tiny_ct: TinyModel) -> BundleModel:
    """Finds what lies between 100 and 140."""
    return open_model(NETWORK, EmbeddedModel(bundle=tiny_ct.bundle), tiny_ct.repository)


def write_case(folder: Path, label_shift: int = 0, label_affine: float = 0.0) -> Path:
    """One image with a block of 120 in 0, and its label, moved if asked."""
    write_decathlon(folder, 1)
    image = np.where(block(4, 8), 120.0, 0.0).astype(np.float32)
    label = block(4 + label_shift, 8 + label_shift).astype(np.uint8)
    moved = np.eye(4)
    moved[0, 3] = label_affine
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / name_of(0))
    nibabel.save(nibabel.Nifti1Image(label, moved), folder / "labelsTr" / name_of(0))
    return folder


def test_every_case_is_read_as_the_gateway_reads_it(tmp_path: Path, model: BundleModel) -> None:
    folder = write_case(tmp_path / "data", label_shift=2)
    found = evaluate_segmentation(model, cases_in(folder, None), no_progress).as_dict()
    assert found["count"] == 1
    assert found["mean_dice"] == pytest.approx(0.5)
    assert found["dice"] == {"Ellipsoid": pytest.approx(0.5)}
    assert found["volume_error_ml"] == {"Ellipsoid": pytest.approx(0.0)}
    assert found["intervals"]["mean_dice"] == (pytest.approx(0.5), pytest.approx(0.5))
    assert found["cases"][0]["case"] == name_of(0)
    json.dumps(found)


def test_a_label_on_another_grid_is_refused(tmp_path: Path, model: BundleModel) -> None:
    folder = write_case(tmp_path / "data", label_affine=0.5)
    with pytest.raises(InputError, match=r"ball_000\.nii\.gz: the affines .* differ by 0\.5 mm"):
        evaluate_segmentation(model, cases_in(folder, None), no_progress)


def test_a_folder_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json") as caught:
        cases_in(tmp_path, None)
    assert "bundles/README.md" in caught.value.hint


def test_without_a_split_val_is_taken_where_there_is_one(tmp_path: Path) -> None:
    split = write_decathlon(tmp_path / "split", 3, {"train": [0, 1], "val": [2]})
    plain = write_decathlon(tmp_path / "plain", 3)
    assert len(cases_in(split, None)) == 1
    assert len(cases_in(plain, None)) == 3

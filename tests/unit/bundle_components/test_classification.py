"""Probabilities that mean what they say: temperature, operating point, slices of a series."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wetread.bundle_components.classification import (
    NotCalibratedError,
    ProbabilitiesOfSeriesd,
    ProbabilitiesOfVolumed,
    SliceInferer,
    calibrate,
    expected_calibration_error,
    operating_point,
    softmax,
)

CLASSES = ("normal", "ill")


def logits_of(sharpness: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the true logits, and these made `sharpness` times too sure."""
    random = np.random.default_rng(3)
    true = random.normal(0, 1.5, (count, 2))
    labels = (random.random(count) < softmax(true)[:, 1]).astype(int)
    return true * sharpness, labels


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(sharpness: float) -> None:
    found = calibrate(*logits_of(sharpness), CLASSES)
    assert found["temperature"] == pytest.approx(sharpness, rel=0.06)
    assert found["ece_after"] < 0.03


def test_calibration_lowers_the_error_of_a_model_that_is_too_sure() -> None:
    found = calibrate(*logits_of(3.0), CLASSES)
    assert found["ece_before"] > 3 * found["ece_after"]


def test_the_operating_point_lies_between_the_two_that_it_parts() -> None:
    probabilities = np.array([0.1, 0.2, 0.35, 0.45, 0.8, 0.9])
    present = np.array([False, False, False, True, True, True])
    assert operating_point(probabilities, present) == pytest.approx(0.4)


def test_equal_probabilities_are_never_parted() -> None:
    """Of three at 0.5 one is present: taking all or none is all that a threshold can do."""
    probabilities = np.array([0.5, 0.5, 0.5, 0.1])
    present = np.array([True, False, False, False])
    assert operating_point(probabilities, present) == pytest.approx(0.3)


def test_the_calibration_error_by_hand() -> None:
    """Two at 0.95 of which one is right: |0.95 − 0.5|; two at 0.65, both right: |0.65 − 1|."""
    confident = [[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.65, 0.35]]
    error = expected_calibration_error(np.array(confident), np.array([0, 1, 0, 0]))
    assert error == pytest.approx((0.45 + 0.35) / 2)


def test_slices_go_through_one_by_one() -> None:
    asked: list[tuple[int, ...]] = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        asked.append(tuple(batch.shape))
        return torch.stack([batch.sum((1, 2, 3)), -batch.sum((1, 2, 3))], 1)

    image = torch.arange(3.0)[None, None, :, None, None].expand(1, 1, 3, 2, 2)
    found = SliceInferer()(image, network)
    assert asked == [(1, 1, 2, 2)] * 3
    assert found.tolist() == [[[0.0, 4.0, 8.0], [0.0, -4.0, -8.0]]]


@pytest.fixture
def calibration(tmp_path: Path) -> str:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"temperature": 2.0, "operating_points": {"ill": 0.5}}))
    return str(path)


def test_a_series_is_its_most_abnormal_slices(calibration: str) -> None:
    """Logits 0 and ln 9, at temperature 2: probability 3/4; the other slices are 1/2 and 1/4."""
    nine = float(np.log(9))
    logits = torch.tensor([[0.0, 0.0, nine], [0.0, nine, 0.0]])
    step = ProbabilitiesOfSeriesd("pred", calibration, slices=2, normal=0)
    found = step({"pred": logits})
    assert found["pred"].tolist() == pytest.approx([0.375, 0.625])
    assert int(found["key_slice"]) == 1


def test_without_a_normal_class_the_surest_slice_counts(calibration: str) -> None:
    logits = torch.tensor([[0.0, 8.0, 1.0], [0.0, 0.0, 0.0]])
    found = ProbabilitiesOfSeriesd("pred", calibration)({"pred": logits})
    assert int(found["key_slice"]) == 1


def test_a_volume_has_one_answer(calibration: str) -> None:
    """Logits 0 and ln 9, at temperature 2: 1/4 and 3/4, and no slice that they are of."""
    step = ProbabilitiesOfVolumed("pred", calibration)
    found = step({"pred": torch.tensor([0.0, float(np.log(9))])})
    assert found["pred"].tolist() == pytest.approx([0.25, 0.75])
    assert "key_slice" not in found


def test_without_calibration_nothing_is_said(tmp_path: Path) -> None:
    step = ProbabilitiesOfSeriesd("pred", str(tmp_path / "none.json"))
    with pytest.raises(NotCalibratedError, match=r"none\.json"):
        step({"pred": torch.zeros(2, 1)})

"""A classifier in the reading path: findings with calibrated probabilities, and maps that fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import pytest

from tiny_classifier import GAIN, NAME, write_tiny_classifier
from tiny_model import TinyModel
from wetread.config import EmbeddedModel
from wetread.errors import ConfigError, InputError, ModelContractError
from wetread.infer.answers import findings_of
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.results import FindingsResult

ROWS, COLUMNS = 40, 90


@pytest.fixture
def tiny(tmp_path: Path) -> TinyModel:
    return write_tiny_classifier(tmp_path)


@pytest.fixture
def model(tiny: TinyModel) -> Iterator[BundleModel]:
    opened = open_model(NAME, EmbeddedModel(bundle=tiny.bundle), tiny.repository)
    yield opened
    opened.close()


def volume(*slices: np.ndarray) -> highdicom.Volume:
    return highdicom.Volume(np.stack(slices).astype(np.float32), np.eye(4), "PATIENT")


def half(lower: float, upper: float = 0.0) -> np.ndarray:
    """The lower half has one value, the upper one another; two corners fix 0 and 1."""
    picture = np.full((ROWS, COLUMNS), upper)
    picture[ROWS // 2 :] = lower
    picture[0, 0], picture[0, -1] = 0.0, 1.0
    return picture


def probability(difference: float) -> float:
    """Of "below", if the lower half is brighter by so much, padded from 40 to 90 rows."""
    return float(1 / (1 + np.exp(-GAIN * difference * ROWS / COLUMNS)))


def read(model: BundleModel, *slices: np.ndarray) -> FindingsResult:
    found = model.read(volume(*slices), no_progress)
    assert isinstance(found, FindingsResult)
    return found


def test_the_probability_is_arithmetic(model: BundleModel) -> None:
    found = read(model, half(0.5))
    assert found.probabilities["below"] == pytest.approx(probability(0.5), abs=0.01)
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    [finding] = found.findings
    assert (finding.finding.value, finding.finding.meaning) == ("233604007", "Pneumonia")
    assert finding.finding_site is not None
    assert finding.finding_site.value == "39607008"
    assert finding.operating_point == 0.6


def test_a_series_is_judged_by_its_two_most_abnormal_slices(model: BundleModel) -> None:
    found = read(model, half(0.1), half(0.9), half(0.2, 0.6), half(0.5))
    wanted = (probability(0.9) + probability(0.5)) / 2
    assert found.probabilities["below"] == pytest.approx(wanted, abs=0.01)
    assert found.slice_index == 1


def test_the_seconds_and_steps_are_told(model: BundleModel) -> None:
    told: list[tuple[str, float]] = []
    found = model.read(volume(half(0.5), half(0.5)), lambda *each: told.append(each))
    assert set(found.seconds) == {"preprocess", "forward", "postprocess"}
    assert ("forward", 0.5) in told
    assert told[-1] == ("postprocess", 1.0)


def test_a_picture_of_one_grey_is_refused(model: BundleModel) -> None:
    with pytest.raises(InputError, match="tiny_classifier: the image has no contrast"):
        read(model, np.ones((ROWS, COLUMNS)))


def test_what_the_network_sees_comes_back_to_the_volume(model: BundleModel) -> None:
    prepared = model.prepare(volume(half(0.5), half(0.7)))
    assert prepared.shape == (1, 2, 64, 64)
    back = model.restore(np.asarray(prepared[0]), prepared)
    assert back.shape == (2, ROWS, COLUMNS)
    assert back[1, 3 * ROWS // 4].mean() == pytest.approx(0.7, abs=0.02)
    assert back[1, ROWS // 4].mean() == pytest.approx(0.0, abs=0.02)


def test_a_bundle_without_calibration_says_how_to_get_it(tiny: TinyModel) -> None:
    (tiny.bundle / "models/calibration.json").unlink()
    with pytest.raises(ConfigError, match=r"calibration\.json") as caught:
        open_model(NAME, EmbeddedModel(bundle=tiny.bundle), tiny.repository)
    assert "wetread bundle train" in caught.value.hint


def test_another_calibration_is_another_model(tiny: TinyModel, model: BundleModel) -> None:
    path = tiny.bundle / "models/calibration.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "temperature": 1.5}), encoding="utf-8")
    other = open_model(NAME, EmbeddedModel(bundle=tiny.bundle), tiny.repository)
    assert other.identity.weights_sha256 != model.identity.weights_sha256
    other.close()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.2, 0.3, 0.5], r"the shape \(3,\), dicom\.json declares 2 classes"),
        ([0.2, 0.3], r"have the sum 0\.5000, not 1"),
        ([1.4, -0.4], "not 1"),
    ],
)
def test_what_is_no_probability_is_refused(
    model: BundleModel, values: list[float], message: str
) -> None:
    with pytest.raises(ModelContractError, match=message):
        findings_of(NAME, model.description, np.array(values), model.operating_points)


def test_a_class_without_operating_point_is_refused(model: BundleModel) -> None:
    with pytest.raises(ModelContractError, match="no operating point for below"):
        findings_of(NAME, model.description, np.array([0.5, 0.5]), {"above": 0.5})

"""What is counted of a reading, by model only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from prometheus_client import REGISTRY

from facts import instance
from wetread.errors import (
    GeometryError,
    InferenceUnavailableError,
    JobCancelledError,
    ModelContractError,
)
from wetread.health import OUTCOMES, count_failure, count_reading
from wetread.results import FindingsResult, InputCheck, ModelIdentity, SegmentationResult
from wetread.study import Series

IDENTITY = ModelIdentity("m", "1.0", "0" * 64)
HINT = {"hint": "none"}


def series(images: int = 3, spacing_mm: float | None = 2.5) -> Series:
    instances = tuple(instance(number) for number in range(images))
    return Series("1.2", "1.2.3", instances, slice_spacing_mm=spacing_mm)


def shown(name: str, model: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, {"model": model, **labels})
    return found or 0.0


def segmented(check: InputCheck | None = None) -> SegmentationResult:
    return SegmentationResult(np.zeros((1, 1, 1), np.uint8), (), IDENTITY, {}, check)


def test_volumes_and_the_header_of_a_series() -> None:
    count_reading("h1", series(), segmented(), {"Brain": 1200.0, "Lesion": 0.0})
    assert shown("wetread_segment_volume_ml_sum", "h1", segment="Brain") == 1200.0
    assert shown("wetread_segment_volume_ml_bucket", "h1", segment="Lesion", le="0.0") == 1
    assert shown("wetread_segment_volume_ml_bucket", "h1", segment="Brain", le="0.0") == 0
    assert shown("wetread_input_images_sum", "h1") == 3
    assert shown("wetread_input_slice_spacing_mm_sum", "h1") == 2.5
    assert shown("wetread_input_distance_ratio_count", "h1") == 0


@pytest.mark.parametrize(("distance", "is_like"), [(14.0, 1), (14.2, 1), (34.1, 0)])
def test_an_image_unlike_the_training_lies_above_one(distance: float, is_like: int) -> None:
    model = f"h2 {distance}"
    count_reading(model, series(), segmented(InputCheck(distance, 14.2)), {})
    assert shown("wetread_input_distance_ratio_bucket", model, le="1.0") == is_like
    assert shown("wetread_input_distance_ratio_count", model) == 1


def test_every_class_of_a_classifier_has_its_probability() -> None:
    found: Mapping[str, float] = {"normal": 0.75, "pneumonia": 0.25}
    count_reading("h3", series(1, None), FindingsResult((), IDENTITY, probabilities=found), {})
    for label, probability in found.items():
        assert shown("wetread_probability_sum", "h3", **{"class": label}) == probability
    assert shown("wetread_input_slice_spacing_mm_count", "h3") == 0


@pytest.mark.parametrize(
    ("error", "again", "outcome"),
    [
        (GeometryError("gap", **HINT), False, "refused"),
        (ModelContractError("shape", **HINT), False, "failed"),
        (ValueError("a fault of ours"), False, "failed"),
        (InferenceUnavailableError("away", **HINT), True, "put off"),
        (InferenceUnavailableError("away", **HINT), False, "failed"),
        (JobCancelledError("cancelled", **HINT), False, "cancelled"),
    ],
)
def test_a_run_that_came_to_nothing(error: Exception, again: bool, outcome: str) -> None:
    model = f"h4 {outcome} {type(error).__name__} {again}"
    count_failure(model, error, again=again)
    assert [each for each in OUTCOMES if shown("wetread_readings_total", model, outcome=each)] == [
        outcome
    ]

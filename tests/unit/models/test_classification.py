"""AUC, accuracy and calibration by arithmetic; intervals that are drawn over patients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from labelled import write_labelled
from tiny_classifier import NAME, write_tiny_classifier
from wetread.config import EmbeddedModel
from wetread.errors import InputError
from wetread.infer.base import no_progress
from wetread.infer.bundle import open_model
from wetread.models.classification import (
    Classification,
    ClassifiedCase,
    area_under_curve,
    balanced_accuracy,
)
from wetread.models.evaluation import evaluate
from wetread.models.intervals import grouped_interval
from wetread.results import ModelIdentity

MODEL = ModelIdentity("tiny", "0.1.0", "ab" * 32)


def case(number: int, label: str, ill: float, group: str = "") -> ClassifiedCase:
    probabilities = {"well": 1 - ill, "ill": ill}
    return ClassifiedCase(f"{number}.png", label, group or f"P{number}", probabilities, {})


def of(*cases: ClassifiedCase) -> Classification:
    return Classification(MODEL, {"ill": 0.5}, cases)


def test_the_figures_of_four_cases() -> None:
    """Of the pairs of an ill and a well one, 3 of 4 are in order; 2 of 4 are said rightly."""
    cases = (case(1, "ill", 0.9), case(2, "ill", 0.4), case(3, "well", 0.2), case(4, "well", 0.6))
    found = of(*cases).as_dict()
    assert found["auc"] == pytest.approx(0.75)
    assert found["accuracy"] == found["balanced_accuracy"] == 0.5
    assert found["sensitivity"] == {"ill": 0.5}
    assert found["specificity"] == {"ill": 0.5}
    assert found["confusion"] == [[1, 1], [1, 1]]
    assert [each["case"] for each in found["cases"]] == ["2.png", "4.png", "3.png", "1.png"]
    assert set(found["intervals"]) >= {"auc", "accuracy", "balanced_accuracy", "ece"}
    json.dumps(found)


def test_equal_scores_count_half() -> None:
    found = np.array([[0.5, 0.5], [0.5, 0.5]])
    assert area_under_curve(found, np.array([0, 1])) == 0.5


def test_a_class_that_does_not_occur_has_no_area() -> None:
    found = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    assert area_under_curve(found, np.array([0, 1])) == 1.0
    assert area_under_curve(found[:1], np.array([0])) is None


def test_balanced_accuracy_weighs_classes_alike() -> None:
    """Nine of one class all right, one of the other wrong: 1/2, not 9/10."""
    found = np.tile([0.9, 0.1], (10, 1))
    assert balanced_accuracy(found, np.array([0] * 9 + [1])) == 0.5


def test_an_interval_over_patients_is_wider_than_one_over_pictures() -> None:
    """Ten patients with ten equal pictures each are ten facts, not a hundred."""
    values = np.repeat(np.arange(10) % 2, 10).astype(float)
    patients = [str(number // 10) for number in range(100)]
    wide = grouped_interval(patients, lambda chosen: float(values[chosen].mean()))
    narrow = grouped_interval(
        [str(number) for number in range(100)], lambda chosen: float(values[chosen].mean())
    )
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_a_figure_without_an_answer_has_no_interval() -> None:
    assert grouped_interval(["a", "b"], lambda _chosen: None) is None


def test_files_are_read_as_the_gateway_reads_them(tmp_path: Path) -> None:
    """The disc lies in the upper or the lower half, so the tiny network is always right."""
    tiny = write_tiny_classifier(tmp_path / "model")
    folder = write_labelled(tmp_path / "data", ("above", "below"), train=1, val=3)
    model = open_model(NAME, EmbeddedModel(bundle=tiny.bundle), tiny.repository)
    found = evaluate(model, folder, None, no_progress).as_dict()
    assert (found["count"], found["groups"]) == (6, 6)
    assert found["auc"] == found["accuracy"] == 1.0
    assert found["confusion"] == [[3, 0], [0, 3]]
    with pytest.raises(InputError, match="has no split 'test', only train, val"):
        evaluate(model, folder, "test", no_progress)
    model.close()

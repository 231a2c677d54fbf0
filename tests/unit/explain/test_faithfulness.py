"""A good map is better than chance, a wrong one worse; one that no network is in is found out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unit.explain.networks import (
    BrightClassifier,
    BrightSegmenter,
    DeepClassifier,
    bright_box,
    image_of_boxes,
)
from wetread.errors import ModelContractError
from wetread.explain.faithfulness import (
    Curve,
    check_randomisation,
    measure_faithfulness,
    rank_correlation,
)
from wetread.explain.methods import attribute
from wetread.explain.question import Question, ask_classifier, ask_segmenter

SHAPE = (64, 48)


@pytest.fixture(scope="module")
def question() -> Question:
    return ask_classifier(BrightClassifier(2), image_of_boxes(SHAPE), 1)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return bright_box(SHAPE).astype(np.float32)


def test_the_truth_is_better_than_chance(question: Question, truth: np.ndarray) -> None:
    found = measure_faithfulness(question, truth)
    assert found.deletion.auc < found.random_deletion.auc - 0.1
    assert found.insertion.auc > found.random_insertion.auc + 0.1
    assert found.deletion_gain == pytest.approx(found.random_deletion.auc - found.deletion.auc)
    assert found.insertion_gain > 0.1


def test_the_contrary_of_the_truth_is_worse_than_chance(
    question: Question, truth: np.ndarray
) -> None:
    found = measure_faithfulness(question, 1 - truth)
    assert found.deletion_gain < -0.1
    assert found.insertion_gain < -0.1


@pytest.mark.parametrize("method", ["gradcam", "saliency", "integrated_gradients", "shap"])
def test_the_maps_of_the_methods_are_better_than_chance(question: Question, method: str) -> None:
    found = measure_faithfulness(question, attribute(question, method))
    assert found.deletion_gain > 0.05
    assert found.insertion_gain > 0.05


def test_a_map_of_a_segment_in_a_volume_is_measured_too() -> None:
    asked = ask_segmenter(BrightSegmenter(3), image_of_boxes((16, 24, 20)), 1, (24, 24, 24))
    found = measure_faithfulness(asked, attribute(asked, "saliency"))
    assert found.deletion_gain > 0.05


def test_curves_go_from_the_whole_image_to_none_of_it_and_back(
    question: Question, truth: np.ndarray
) -> None:
    found = measure_faithfulness(question, truth)
    whole = question.probability
    assert found.deletion.probabilities[0] == pytest.approx(whole, abs=1e-6)
    assert found.deletion.probabilities[-1] == pytest.approx(0.5, abs=1e-3)
    assert found.insertion.probabilities[-1] == pytest.approx(whole, abs=1e-6)
    assert (found.deletion.shares[0], found.deletion.shares[-1]) == (0.0, 1.0)


def test_the_area_is_that_of_the_trapezium() -> None:
    assert Curve((0.0, 0.5, 1.0), (1.0, 0.5, 0.0)).auc == pytest.approx(0.5)
    assert Curve((0.0, 0.25, 1.0), (1.0, 0.0, 0.0)).auc == pytest.approx(0.125)


def test_measured_twice_it_is_the_same(question: Question, truth: np.ndarray) -> None:
    assert measure_faithfulness(question, truth) == measure_faithfulness(question, truth)


def test_the_figures_are_for_json(question: Question, truth: np.ndarray) -> None:
    found = measure_faithfulness(question, truth).as_dict()
    assert found["deletion_auc"] < found["random_deletion_auc"]
    assert set(found["curves"]) == {
        "deletion",
        "insertion",
        "random_deletion",
        "random_insertion",
    }


def test_a_map_of_another_image_is_refused(question: Question) -> None:
    with pytest.raises(ModelContractError, match=r"the map has shape \(4, 4\), the image \(64, 48"):
        measure_faithfulness(question, np.zeros((4, 4), np.float32))


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "shap"])
def test_a_map_that_follows_the_network_changes_with_it(method: str) -> None:
    asked = ask_classifier(DeepClassifier(), torch.rand(1, 1, 32, 24), 1)
    found = check_randomisation(asked, lambda one: attribute(one, method))
    assert abs(found.correlation) < 0.5
    assert list(found.correlations) == [
        "top third of the layers",
        "top two thirds of the layers",
        "all layers",
    ]


def test_a_map_of_edges_does_not_change_and_is_found_out() -> None:
    """Edges look like an explanation, and are the same whatever the network has learned."""
    asked = ask_classifier(DeepClassifier(), image_of_boxes((32, 24)), 1)

    def edges(one: Question) -> np.ndarray:
        image = one.image[0, 0].numpy()
        return np.abs(np.gradient(image)).sum(axis=0).astype(np.float32)

    found = check_randomisation(asked, edges)
    assert found.correlation == pytest.approx(1.0)
    assert found.as_dict()["correlation"] == pytest.approx(1.0)


def test_the_network_is_left_as_it_was() -> None:
    network = DeepClassifier()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    asked = ask_classifier(network, image_of_boxes((32, 24)), 1)
    check_randomisation(asked, lambda one: attribute(one, "saliency"))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_ranks_do_not_heed_sign_or_scale_and_nothing_correlates_with_nothing() -> None:
    one = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert rank_correlation(one, -5 * one) == pytest.approx(1.0)
    assert rank_correlation(one, one.max() - one) == pytest.approx(-1.0)
    assert rank_correlation(one, np.full_like(one, 2.0)) == 0.0

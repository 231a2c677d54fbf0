"""Every method marks the part of the image on which the answer rests, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unit.explain.networks import (
    GAIN,
    GREY,
    BrightClassifier,
    BrightSegmenter,
    ColourClassifier,
    DeepClassifier,
    LinearClassifier,
    bright_box,
    image_of_boxes,
    share_inside,
)
from wetread.errors import ConfigError, ModelContractError
from wetread.explain.methods import METHODS, attribute
from wetread.explain.question import Question, ask_classifier, ask_segmenter
from wetread.explain.settings import Settings, absent

SHAPES = {"picture": (48, 40), "volume": (24, 48, 24)}
SETTINGS = Settings(perturbations=160, regions=40, patches=32)
# These give the whole window or region what any of its pixels does.
BY_REGION = {"occlusion", "lime"}
WITH_A_SIGN = sorted(set(METHODS) - {"gradcam", "gradcam++", "saliency"})


def why_bright(kind: str) -> Question:
    shape = SHAPES[kind]
    return ask_classifier(BrightClassifier(len(shape)), image_of_boxes(shape), 1)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_the_map_has_its_largest_values_in_the_bright_box(method: str, kind: str) -> None:
    found = attribute(why_bright(kind), method, SETTINGS)
    assert found.shape == SHAPES[kind]
    assert found.dtype == np.float32
    assert share_inside(found, bright_box(SHAPES[kind])) > 0.8


@pytest.mark.parametrize("method", sorted(set(METHODS) - BY_REGION))
def test_nothing_is_marked_where_the_answer_does_not_rest(method: str) -> None:
    found = np.abs(attribute(why_bright("picture"), method, SETTINGS))
    outside = ~bright_box(SHAPES["picture"])
    assert found[outside].sum() < 0.2 * found.sum()


@pytest.mark.parametrize("method", METHODS)
def test_the_dark_box_speaks_for_the_other_class(method: str) -> None:
    """Turned round, the image has the dark box where the bright one was."""
    shape = SHAPES["picture"]
    question = ask_classifier(BrightClassifier(2), 2 * GREY - image_of_boxes(shape), 0)
    assert share_inside(attribute(question, method, SETTINGS), bright_box(shape)) > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_the_segment_rests_on_its_own_voxels(method: str) -> None:
    image = image_of_boxes((16, 24, 20))
    question = ask_segmenter(BrightSegmenter(3), image, 1)
    found = attribute(question, method, SETTINGS)
    around = np.asarray(question.mask)
    for axis in range(3):
        around = around | np.roll(around, 1, axis) | np.roll(around, -1, axis)
    assert found.shape == (16, 24, 20)
    assert around.ravel()[np.argsort(-found.ravel())[:30]].mean() > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_a_padded_window_gives_a_map_of_the_image_itself(method: str) -> None:
    """The network takes 24 × 32 × 24; the image is smaller and must stay where it is."""
    image = image_of_boxes((16, 24, 20))
    whole = attribute(ask_segmenter(BrightSegmenter(3), image, 1), method, SETTINGS)
    padded = attribute(ask_segmenter(BrightSegmenter(3), image, 1, (24, 32, 24)), method, SETTINGS)
    assert padded.shape == whole.shape
    assert np.corrcoef(padded.ravel(), whole.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("method", METHODS)
def test_the_same_question_has_the_same_answer(method: str) -> None:
    question = ask_classifier(DeepClassifier(), image_of_boxes((32, 24)))
    first, second = (attribute(question, method, SETTINGS) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("method", METHODS)
def test_colours_become_one_map(method: str) -> None:
    image = image_of_boxes((48, 40), channels=3)
    found = attribute(ask_classifier(ColourClassifier(), image, 1), method, SETTINGS)
    assert share_inside(found, bright_box((48, 40))) > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_neither_network_nor_image_nor_numpys_dice_are_changed(method: str) -> None:
    network, image = DeepClassifier(), image_of_boxes((32, 24))
    question = ask_classifier(network, image)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    np.random.seed(5)
    attribute(question, method, SETTINGS)
    drawn = np.random.random()
    np.random.seed(5)
    assert drawn == np.random.random()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(question.image, image)
    assert network.body[1].inplace
    assert not any(module._forward_hooks for module in network.modules())


def test_integrated_gradients_add_up_to_the_difference_of_the_logits() -> None:
    """Completeness, Sundararajan et al. 2017, section 3."""
    question = why_bright("picture")
    found = attribute(question, "integrated_gradients", Settings(steps=200))
    with torch.no_grad():
        logits = [question.network(each)[0, 1] for each in (question.image, absent(question.image))]
    assert found.sum() == pytest.approx(float(logits[0] - logits[1]), rel=0.02)


def test_occlusion_is_how_far_the_logit_falls() -> None:
    """One window just over the bright box: 12 × 10 pixels, 0.2 above 0.7 each."""
    question = why_bright("picture")
    found = attribute(question, "occlusion", Settings(patches=8))
    falls = GAIN * 0.2 * 6 * 6 / (48 * 40)
    assert found.max() == pytest.approx(falls, rel=0.1)


@pytest.mark.parametrize("method", WITH_A_SIGN)
def test_what_speaks_against_is_below_zero(method: str) -> None:
    """With the logit of one class less that of the other, the dark box speaks against."""

    class Difference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = BrightClassifier(2)

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            logits = self.inner(batch)
            return torch.stack([logits[:, 0], logits[:, 1] - logits[:, 0]], 1)

    shape = SHAPES["picture"]
    question = ask_classifier(Difference(), 2 * GREY - image_of_boxes(shape), 1)
    found = attribute(question, method, SETTINGS)
    assert share_inside(-found, bright_box(shape)) > 0.8
    assert found[bright_box(shape)].mean() < 0


def test_grad_cam_looks_at_the_layer_that_is_named() -> None:
    question = ask_classifier(DeepClassifier(), image_of_boxes((32, 24)))
    chosen = attribute(question, "gradcam")
    last = attribute(question, "gradcam", Settings(layer="body.4"))
    first = attribute(question, "gradcam", Settings(layer="body.0"))
    assert np.array_equal(chosen, last)
    assert not np.allclose(chosen, first)


def test_grad_cam_of_an_unknown_layer_names_those_that_are_there() -> None:
    question = ask_classifier(DeepClassifier(), image_of_boxes((32, 24)))
    with pytest.raises(ConfigError, match=r"no layer 'boddy\.0'") as caught:
        attribute(question, "gradcam", Settings(layer="boddy.0"))
    assert "body.0, body.2, body.4" in caught.value.hint


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_grad_cam_needs_a_convolution(method: str) -> None:
    question = ask_classifier(LinearClassifier(), image_of_boxes((8, 8)))
    with pytest.raises(ConfigError, match="no convolution that can be watched"):
        attribute(question, method)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"gradcam", "gradcam++"}))
def test_the_others_need_none(method: str) -> None:
    question = ask_classifier(LinearClassifier(), image_of_boxes((8, 8)))
    assert attribute(question, method, SETTINGS).shape == (8, 8)


def test_a_large_logit_is_no_trouble_to_grad_cam_plus_plus() -> None:
    """Its weights have the exponential of the logit in them, which is infinite above 88."""

    class Loud(BrightClassifier):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return super().forward(batch) + 1000.0

    shape = SHAPES["picture"]
    found = attribute(ask_classifier(Loud(2), image_of_boxes(shape), 1), "gradcam++")
    assert share_inside(found, bright_box(shape)) > 0.8


def test_an_unknown_method_names_the_known() -> None:
    with pytest.raises(ConfigError, match="no method 'gradcamm'") as caught:
        attribute(why_bright("picture"), "gradcamm")
    assert "integrated_gradients" in caught.value.hint


def test_a_map_that_is_no_number_is_refused() -> None:
    class Broken(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.sqrt(batch.flatten(1)[:, :2] * 0)

    question = ask_classifier(Broken(), image_of_boxes((8, 8)), 0)
    with pytest.raises(ModelContractError, match="of 64 values are not finite"):
        attribute(question, "saliency")

"""What a network is asked: which class, which window, which voxels."""

from __future__ import annotations

import pytest
import torch

from unit.explain.networks import BrightClassifier, BrightSegmenter, bright_box, image_of_boxes
from wetread.errors import InputError, ModelContractError
from wetread.explain.question import (
    SegmentScores,
    TargetScore,
    ask_classifier,
    ask_segmenter,
    probabilities,
)


class Always(torch.nn.Module):
    """The same answer to everything."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.answer.expand(len(batch), *self.answer.shape[1:])


def test_without_a_target_the_likeliest_class_is_asked_about() -> None:
    question = ask_classifier(Always(torch.tensor([[0.0, 3.0, 1.0]])), torch.zeros(1, 1, 4, 4))
    assert question.target == 1
    assert question.probability == pytest.approx(0.8438, abs=1e-4)


def test_a_single_logit_is_a_probability_by_itself() -> None:
    question = ask_classifier(Always(torch.tensor([[2.0]])), torch.zeros(1, 1, 4, 4))
    assert question.probability == pytest.approx(0.8808, abs=1e-4)


def test_a_network_that_gives_a_map_is_no_classifier() -> None:
    with pytest.raises(ModelContractError, match=r"shape \(1, 2, 16, 16\)"):
        ask_classifier(BrightSegmenter(2), image_of_boxes((16, 16)))


@pytest.mark.parametrize("target", [-1, 2])
def test_a_class_that_is_not_there_is_refused(target: int) -> None:
    with pytest.raises(ModelContractError, match=f"no class {target}: the network has 2"):
        ask_classifier(BrightClassifier(2), image_of_boxes((16, 16)), target)
    with pytest.raises(ModelContractError, match=f"no class {target}: the network has 2"):
        ask_segmenter(BrightSegmenter(2), image_of_boxes((16, 16)), target)


def test_the_target_alone() -> None:
    score = TargetScore(Always(torch.tensor([[1.0, 2.0, 3.0]])), 2)
    assert score(torch.zeros(4, 1, 2, 2)).tolist() == [[3.0]] * 4


def test_a_segment_is_scored_by_its_mean_logit_over_the_mask() -> None:
    logits = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]]])
    mask = torch.tensor([[True, False], [False, True]])
    scores = SegmentScores(Always(logits), mask)(torch.zeros(2, 1, 2, 2))
    assert scores.tolist() == [[2.5, 25.0]] * 2


def test_the_segment_is_where_the_network_finds_it() -> None:
    image = image_of_boxes((24, 32, 16))
    question = ask_segmenter(BrightSegmenter(3), image, 1)
    found, box = question.mask.numpy(), bright_box((24, 32, 16))
    assert 0.3 < found[box].mean() <= 1.0
    assert not found[~box].any()
    assert question.window == (slice(0, 24), slice(0, 32), slice(0, 16))
    assert question.probability > 0.9


def test_of_a_large_image_the_window_around_the_segment_is_asked_about() -> None:
    """The bright box is rows 5 to 15 and columns 8 to 24: the window holds it, and no border."""
    image = image_of_boxes((40, 64))
    question = ask_segmenter(BrightSegmenter(2), image, 1, (20, 24))
    rows, columns = question.window
    assert (rows.start, rows.stop) == (0, 20)
    assert columns.stop - columns.start == 24
    assert columns.start in (3, 4)
    assert torch.equal(question.image[0, 0], image[0, 0, rows, columns])
    assert question.mask.sum() > 0


def test_a_small_image_is_padded_within_the_network() -> None:
    image = image_of_boxes((16, 24, 20))
    question = ask_segmenter(BrightSegmenter(3), image, 1, (32, 32, -1))
    assert question.image.shape == image.shape
    assert question.padded == (32, 32, 20)
    unpadded = ask_segmenter(BrightSegmenter(3), image, 1)
    assert torch.allclose(question.network(image), unpadded.network(image))


def test_of_deep_supervision_the_finest_answer_counts() -> None:
    class Deep(BrightSegmenter):
        def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
            answer = super().forward(batch)
            return [answer, answer[..., ::2, ::2, ::2]]

    image = image_of_boxes((16, 24, 20))
    deep = ask_segmenter(Deep(3), image, 1)
    assert torch.equal(deep.mask, ask_segmenter(BrightSegmenter(3), image, 1).mask)


def test_a_segment_that_is_not_there_cannot_be_explained() -> None:
    with pytest.raises(InputError, match="finds channel 1 nowhere"):
        ask_segmenter(BrightSegmenter(2), torch.zeros(1, 1, 16, 16), 1)


def test_one_channel_is_a_segment_above_one_half() -> None:
    class One(BrightSegmenter):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return super().forward(batch)[:, 1:]

    image = image_of_boxes((32, 32))
    two = ask_segmenter(BrightSegmenter(2), image, 1)
    assert torch.equal(ask_segmenter(One(2), image, 0).mask, two.mask)


def test_probabilities_add_up() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(probabilities(logits).sum(1), torch.ones(2))

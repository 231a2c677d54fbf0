"""The gate's figures are what they say, on answers whose figures are arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wetread.errors import InferenceError, ModelContractError
from wetread.infer.description import NetworkSpec, TensorSpec
from wetread.models.parity import (
    FLOAT32,
    REDUCED,
    Question,
    check_figures,
    compare,
    fixed_batches,
)
from wetread.models.record import Figures
from wetread.triton.configs import profile_of

Array = NDArray[np.float32]


def spec_of(shape: tuple[int, ...], output: tuple[int, ...]) -> NetworkSpec:
    return NetworkSpec(
        "any", "network_def", TensorSpec("x", shape, "float32"), TensorSpec("y", output, "float32")
    )


MASKS = spec_of((1, 1, 10, 10), (1, 3, 10, 10))
CLASSES = spec_of((-1, 1, 8, 8), (-1, 3))


def one_hot(labels: NDArray[np.int64], classes: int = 3) -> Array:
    """(batch, …) → (batch, class, …)"""
    return np.moveaxis(np.eye(classes, dtype=np.float32)[labels], -1, 1).copy()


def figures(spec: NetworkSpec, *pairs: tuple[Array, Array]) -> Figures:
    """Of answers wanted and found, each to an input of its own."""
    questions = [
        Question(np.full((1, 1), number, np.float32), wanted)
        for number, (wanted, _) in enumerate(pairs)
    ]
    return compare(spec, "form", lambda batch: pairs[int(batch[0, 0])][1], questions)


def labels(*boxes: tuple[int, int]) -> NDArray[np.int64]:
    """A picture whose first rows have the labels that are given, each so many voxels."""
    flat = np.zeros(100, np.int64)
    end = 0
    for label, count in boxes:
        flat[end : end + count] = label
        end += count
    return flat.reshape(1, 10, 10)


def test_the_same_is_the_same() -> None:
    wanted = one_hot(labels((1, 20), (2, 10)))
    assert figures(MASKS, (wanted, wanted.copy())) == Figures(0.0, 0.0, 1.0)


def test_masks_agree_by_dice() -> None:
    """30 voxels in one and 20 in the other, of which 20 are common."""
    found = figures(MASKS, (one_hot(labels((1, 30))), one_hot(labels((1, 20)))))
    assert found.agreement == pytest.approx(2 * 20 / 50)
    # 10 voxels differ by 1 in two of three channels.
    assert found.mean_difference == pytest.approx(20 / 300)


def test_a_voxel_of_another_label_does_not_agree() -> None:
    """Both masks are the same 30 voxels; 10 have the other label."""
    wanted, found = labels((1, 20), (2, 10)), labels((1, 30))
    assert figures(MASKS, (one_hot(wanted), one_hot(found))).agreement == pytest.approx(40 / 60)


def test_inputs_count_together() -> None:
    """By voxels: a handful in noise does not weigh as much as a whole ball."""
    whole = one_hot(labels((1, 50)))
    few, none = one_hot(labels((1, 1))), one_hot(labels())
    assert figures(MASKS, (whole, whole), (few, none)).agreement == pytest.approx(100 / 101)


def test_nothing_anywhere_agrees() -> None:
    nothing = one_hot(labels())
    assert figures(MASKS, (nothing, nothing)).agreement == 1.0


def test_one_channel_is_a_probability() -> None:
    spec = spec_of((1, 1, 10, 10), (1, 1, 10, 10))
    wanted = np.zeros((1, 1, 10, 10), np.float32)
    wanted[..., :4, :] = 0.6
    found = wanted - np.float32(0.2) * (np.arange(10) < 2).astype(np.float32)
    assert figures(spec, (wanted, found)).agreement == pytest.approx(2 * 32 / 72)


def test_classes_agree_by_the_share_of_images() -> None:
    wanted = one_hot(np.array([0, 1, 2, 0]))
    found = one_hot(np.array([0, 1, 1, 0]))
    assert figures(CLASSES, (wanted, found)).agreement == 0.75


def test_a_difference_is_seen_against_the_spread_of_the_answers() -> None:
    """Logits of ±10 that are 0.5 off, and the same thing ten times as small."""
    wanted = np.array([[10, -10, 0], [-10, 10, 0]], np.float32)
    large = figures(CLASSES, (wanted, wanted + 0.5))
    small = figures(CLASSES, (wanted / 10, wanted / 10 + np.float32(0.05)))
    assert large.mean_difference == pytest.approx(0.5)
    assert small.mean_difference == pytest.approx(0.05)
    assert large.share_of_spread == pytest.approx(0.5 / wanted.std())
    assert small.share_of_spread == pytest.approx(large.share_of_spread)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    wanted = one_hot(labels((1, 30)))
    found = wanted.copy()
    found[0, 0, 0, 0] = value
    with pytest.raises(ModelContractError, match="gives NaN or infinite values as form"):
        figures(MASKS, (wanted, found))


def test_another_shape_is_refused() -> None:
    wanted = one_hot(labels((1, 30)))
    with pytest.raises(ModelContractError, match=r"gives \[1, 3, 10, 9\] as form, export"):
        figures(MASKS, (wanted, wanted[..., :9]))


def test_a_form_that_does_not_run_is_named_with_the_shape() -> None:
    def run(batch: Array) -> Array:
        raise InferenceError("out of luck\nand more of it")

    question = Question(np.zeros((1, 2, 3), np.float32), np.zeros((1, 1), np.float32))
    message = r"^network any does not run as form on \[1, 2, 3\]: out of luck$"
    with pytest.raises(ModelContractError, match=message):
        compare(MASKS, "form", run, [question])


@pytest.mark.parametrize(
    ("found", "limits", "message"),
    [
        (Figures(0.0, 0.0, 0.9985), FLOAT32, r"agreement 0\.9985, allowed is 0\.999$"),
        (Figures(0.0011, 0.0, 1.0), FLOAT32, r"mean difference 0\.0011, allowed is 0\.001$"),
        (Figures(0.0, 0.0, 0.9899), REDUCED, r"agreement 0\.9899, allowed is 0\.99$"),
        (Figures(9.0, 0.06, 1.0), REDUCED, r"share of the spread 0\.06, allowed is 0\.05$"),
    ],
)
def test_what_is_beyond_a_limit_is_said_with_both_numbers(
    found: Figures, limits: object, message: str
) -> None:
    with pytest.raises(ModelContractError, match=message) as caught:
        check_figures(MASKS, "form", found, limits)  # type: ignore[arg-type]
    assert "not installed" in caught.value.hint


@pytest.mark.parametrize(
    ("found", "limits"),
    [(Figures(0.001, 9.0, 0.999), FLOAT32), (Figures(9.0, 0.05, 0.99), REDUCED)],
)
def test_the_limit_itself_is_allowed(found: Figures, limits: object) -> None:
    check_figures(MASKS, "form", found, limits)  # type: ignore[arg-type]


def test_inputs_are_a_ball_and_noise_in_the_smallest_and_the_largest_shape() -> None:
    spec = spec_of((-1, 1, -1, -1, 32), (-1, 2, -1, -1, 32))
    profile = profile_of(spec, (48, 0, 0))
    shapes = [batch.shape for batch in fixed_batches(spec, profile)]
    # 256 would take minutes in torch.
    assert shapes == [(2, 1, 96, 96, 32), (1, 1, 48, 64, 32), (4, 1, 48, 128, 32)]
    within = [batch.shape for batch in fixed_batches(spec, profile, within=True)]
    assert within == [(2, 1, 48, 96, 32), *shapes[1:]]


def test_inputs_are_always_the_same_and_of_one_range() -> None:
    profile = profile_of(MASKS, ())
    first, second = fixed_batches(MASKS, profile), fixed_batches(MASKS, profile)
    assert len(first) == 2
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == np.float32
        assert -0.5 < one.min() < one.max() < 1.5
        assert one.std() > 0.1

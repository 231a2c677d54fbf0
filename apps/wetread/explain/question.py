"""What is asked of a network: how much one class, or one segment, rests on which pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.inferers import sliding_window_inference

from wetread.errors import InputError, ModelContractError

Floats = torch.Tensor


@dataclass(frozen=True, slots=True)
class Question:
    """One answer of one network, to be explained.

    `network` gives logits of shape (batch, class) for a batch of images; `image` is one of them,
    (1, channel, *spatial) in float32; `target` counts classes from 0. `mask` (*spatial) is where a
    segmenter found the segment, None for a classifier. `window` says where `image` lies in the
    prepared image, one slice of indices an axis, empty if it is all of it. `padded` is the
    (*spatial) that the layers see, where the network pads the image behind.
    """

    network: torch.nn.Module
    image: Floats
    target: int
    mask: torch.Tensor | None = None
    window: tuple[slice, ...] = ()
    padded: tuple[int, ...] = ()

    @property
    def probability(self) -> float:
        """Of the target: softmax over the classes, or the logistic function of a single logit."""
        with torch.no_grad():
            return float(probabilities(self.network(self.image))[0, self.target])


class SegmentScores(torch.nn.Module):
    """A segmenter asked like a classifier: each channel's mean logit over a fixed mask.

    The mask (*spatial) has the shape that the network takes; a smaller image is padded with zeros
    behind. See Vinogradova et al., Towards Interpretable Semantic Segmentation (2020), who take the
    sum where this takes the mean.
    """

    def __init__(self, network: torch.nn.Module, mask: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mask", mask.to(torch.float32), persistent=False)

    def forward(self, batch: Floats) -> Floats:
        """(batch, channel, *spatial) → (batch, channel of the answer)."""
        mask: Floats = self.get_buffer("mask")
        logits = main_answer(self.network(_padded(batch, mask.shape)))
        axes = tuple(range(2, logits.ndim))
        return (logits * mask).sum(axes) / mask.sum()


class TargetScore(torch.nn.Module):
    """One class of a network alone: (batch, *image) → (batch, 1)."""

    def __init__(self, network: torch.nn.Module, target: int) -> None:
        super().__init__()
        self.network = network
        self.target = target

    def forward(self, batch: Floats) -> Floats:
        """The logit of the target."""
        scores: Floats = self.network(batch)
        return scores[:, self.target : self.target + 1]


def main_answer(answer: Floats | Sequence[Floats]) -> Floats:
    """The answer itself where a network with deep supervision gives coarser ones after it."""
    return answer if isinstance(answer, torch.Tensor) else answer[0]


def probabilities(logits: Floats) -> Floats:
    """(batch, class) → the same shape: softmax, or the logistic function for a single class."""
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def ask_classifier(network: torch.nn.Module, image: Floats, target: int | None = None) -> Question:
    """The question why `image` (1, channel, *spatial) is of class `target`, else of the likeliest.

    Raises ModelContractError if the network gives no (1, class), or no such class.
    """
    network.eval()
    image = _plain(image)
    with torch.no_grad():
        logits = network(image)
    if logits.ndim != 2 or logits.shape[0] != 1:
        raise ModelContractError(
            f"the network's answer has shape {tuple(logits.shape)}, a classifier's is (1, class)",
            hint="explain a segment instead, or the network before its map",
        )
    chosen = int(logits[0].argmax()) if target is None else target
    _check_target(chosen, logits.shape[1])
    return Question(network, image, chosen)


def ask_segmenter(
    network: torch.nn.Module, image: Floats, target: int, roi: Sequence[int] = ()
) -> Question:
    """The question why `network` put the segment of channel `target` where it put it.

    `image` is (1, channel, *spatial). The network is asked about one window of `roi` voxels (−1:
    the whole axis) around the middle of the segment; a smaller image is padded with zeros behind.
    The segment is where its channel is the largest, or above one half where there is only one.

    Raises InputError if it put the segment nowhere, ModelContractError if there is no such channel.
    """
    network.eval()
    image = _plain(image)
    shape = tuple(image.shape[2:])
    sizes = tuple(
        length if size <= 0 else size
        for size, length in zip(roi or (-1,) * len(shape), shape, strict=True)
    )
    found = _found(network, image, target, sizes)
    starts = [
        _start(places, size, length)
        for places, size, length in zip(torch.nonzero(found).T, sizes, shape, strict=True)
    ]
    window = tuple(
        slice(start, min(start + size, length))
        for start, size, length in zip(starts, sizes, shape, strict=True)
    )
    cut = image[(slice(None), slice(None), *window)].contiguous()
    mask = found[window]
    scores = SegmentScores(network, _padded(mask[None, None], sizes)[0, 0])
    return Question(scores.eval(), cut, target, mask, window, sizes)


def _plain(image: Floats) -> Floats:
    """Without MONAI's metadata, which the explainers' arithmetic does not know."""
    plain = image.as_tensor() if hasattr(image, "as_tensor") else image
    return torch.as_tensor(plain, dtype=torch.float32).detach().clone()


def _check_target(target: int, count: int) -> None:
    if not 0 <= target < count:
        raise ModelContractError(
            f"no class {target}: the network has {count}, counted from 0",
            hint="the bundle's dicom.json and its network must agree",
        )


def _found(
    network: torch.nn.Module, image: Floats, target: int, sizes: Sequence[int]
) -> torch.Tensor:
    def answer(batch: Floats) -> Floats:
        return main_answer(network(batch))

    with torch.no_grad():
        logits = sliding_window_inference(image, sizes, 1, answer, overlap=0.25)[0]
    _check_target(target, logits.shape[0])
    single = logits.shape[0] == 1
    found = probabilities(logits[None])[0, 0] > 0.5 if single else logits.argmax(0) == target
    if not found.any():
        raise InputError(
            f"the network finds channel {target} nowhere, so there is nothing to explain",
            hint="explain another segment with --target",
        )
    return torch.as_tensor(found)


def _start(places: torch.Tensor, size: int, length: int) -> int:
    """Where a window of `size` begins that has the middle of `places` in its own."""
    middle = int(places.float().mean().round())
    return max(0, min(middle - size // 2, length - size))


def _padded(image: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    missing = [size - length for size, length in zip(sizes, image.shape[2:], strict=True)]
    amounts = [amount for each in reversed(missing) for amount in (0, max(0, each))]
    return torch.nn.functional.pad(image.to(torch.float32), amounts)

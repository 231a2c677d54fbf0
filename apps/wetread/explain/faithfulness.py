"""Whether a map says what the network looks at: measured, not assumed.

Deletion and insertion are those of Petsiuk et al., RISE (2018), over blocks of the image and not
over single pixels: a random choice of single pixels is noise, which disturbs a network more than
anything that is taken away as a whole, and would make every map look worse than chance.
The randomisation of the network is that of Adebayo et al., Sanity Checks for Saliency Maps (2018).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from wetread.errors import ModelContractError
from wetread.explain.question import Question, probabilities
from wetread.explain.settings import absent

Floats = NDArray[np.float32]
Explain = Callable[[Question], Floats]
_SEED = 20251125
_STEPS = 16
_RANDOM_ORDERS = 3
_BLOCKS = {1: 64, 2: 16, 3: 8}  # along the longest side, by the number of axes
_BLUR = 0.1  # of the shortest side
_STAGES = (1 / 3, 2 / 3, 1.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """The target's probability after each share (0..1) of the image was taken away or given."""

    shares: tuple[float, ...]
    probabilities: tuple[float, ...]

    @property
    def auc(self) -> float:
        """The area under it, by the trapezium rule: 0 to 1."""
        return float(np.trapezoid(self.probabilities, self.shares))


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Curves in the order of a map, beside the mean of random orders of the same blocks.

    What the map marks matters if taking it away first hurts more than chance (`deletion` below its
    random curve) and giving it first helps more (`insertion` above its own).
    """

    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    random_insertion: Curve

    @property
    def deletion_gain(self) -> float:
        """Random area less the map's: above 0 is better than chance."""
        return self.random_deletion.auc - self.deletion.auc

    @property
    def insertion_gain(self) -> float:
        """The map's area less the random one: above 0 is better than chance."""
        return self.insertion.auc - self.random_insertion.auc

    def as_dict(self) -> dict[str, Any]:
        """Areas and gains, and the curves, for JSON."""
        names = ("deletion", "insertion", "random_deletion", "random_insertion")
        curves: dict[str, Curve] = {name: getattr(self, name) for name in names}
        return {
            **{f"{name}_auc": curve.auc for name, curve in curves.items()},
            "deletion_gain": self.deletion_gain,
            "insertion_gain": self.insertion_gain,
            "curves": {name: asdict(curve) for name, curve in curves.items()},
        }


@dataclass(frozen=True, slots=True)
class Randomisation:
    """Spearman's rank correlation of a map with those of ever more randomised networks.

    By what was randomised: "top third of the layers", "top two thirds", "all layers". A map that
    stays the same when the network forgets everything does not explain the network.
    """

    correlations: Mapping[str, float]

    @property
    def correlation(self) -> float:
        """With the map of a network whose layers are all random."""
        return self.correlations["all layers"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"correlation": self.correlation, "correlations": dict(self.correlations)}


def measure_faithfulness(question: Question, attribution: Floats) -> Faithfulness:
    """Delete and insert blocks in the order of the map, and in random orders.

    A block's rank is the mean of the map over it. Deletion replaces by the mean of the image,
    insertion starts from the image blurred. The same arguments always give the same curves.

    Raises ModelContractError if the map does not have the image's shape.
    """
    spatial = tuple(question.image.shape[2:])
    if attribution.shape != spatial:
        raise ModelContractError(
            f"the map has shape {attribution.shape}, the image {spatial}",
            hint="measure a map of this very image",
        )
    blocks = _blocks(spatial)
    count = int(blocks.max()) + 1
    sums = np.bincount(blocks.ravel(), attribution.ravel().astype(float), count)
    ranked = np.argsort(-sums / np.bincount(blocks.ravel(), minlength=count), kind="stable")
    generator = np.random.default_rng(_SEED)
    shuffled = [generator.permutation(count) for _ in range(_RANDOM_ORDERS)]
    empty, blurred = absent(question.image), _blurred(question.image)

    def delete(order: NDArray[np.int64]) -> Curve:
        return _curve(question, blocks, order, question.image, empty)

    def insert(order: NDArray[np.int64]) -> Curve:
        return _curve(question, blocks, order, blurred, question.image)

    return Faithfulness(
        deletion=delete(ranked),
        insertion=insert(ranked),
        random_deletion=_mean([delete(order) for order in shuffled]),
        random_insertion=_mean([insert(order) for order in shuffled]),
    )


def check_randomisation(question: Question, explain: Explain) -> Randomisation:
    """Explain the same image while the network's layers are randomised from the top downwards.

    `explain` makes the map of a question. Each layer's weights are drawn anew from a normal
    distribution of their own mean and deviation; statistics of normalisation stay. Maps are
    compared by size, without their sign; one without any difference correlates with nothing (0).
    """
    wanted = explain(question)
    correlations = {}
    for name, network in _randomised(question.network):
        correlations[name] = rank_correlation(wanted, explain(replace(question, network=network)))
    return Randomisation(correlations)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's correlation of the sizes of two maps of one shape; 0 if one has no differences."""
    sizes = [np.abs(each).ravel() for each in (one, other)]
    if any(np.ptp(each) == 0 for each in sizes):
        return 0.0
    return float(spearmanr(*sizes).statistic)


def _blocks(spatial: Sequence[int]) -> NDArray[np.int64]:
    """The number of its block for each pixel, from 0."""
    side = max(1, round(max(spatial) / _BLOCKS[len(spatial)]))
    counts = [-(-length // side) for length in spatial]
    axes = np.meshgrid(*(np.arange(length) // side for length in spatial), indexing="ij")
    return np.asarray(np.ravel_multi_index(tuple(axes), tuple(counts)), np.int64)


def _curve(
    question: Question,
    blocks: NDArray[np.int64],
    order: NDArray[np.int64],
    before: torch.Tensor,
    after: torch.Tensor,
) -> Curve:
    """The probability while the blocks of `before` become those of `after`, in that order."""
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    rank_of_pixel = torch.from_numpy(ranks[blocks])
    ends = np.unique(np.linspace(0, len(order), min(_STEPS, len(order)) + 1).round().astype(int))
    values = []
    for end in ends:
        image = torch.where(rank_of_pixel < int(end), after, before)
        with torch.no_grad():
            values.append(float(probabilities(question.network(image))[0, question.target]))
    return Curve(tuple(float(end) / len(order) for end in ends), tuple(values))


def _mean(curves: Sequence[Curve]) -> Curve:
    values = np.mean([curve.probabilities for curve in curves], axis=0)
    return Curve(curves[0].shares, tuple(float(value) for value in values))


def _blurred(image: torch.Tensor) -> torch.Tensor:
    side = _BLUR * min(image.shape[2:])
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, 0, *[side] * (image.ndim - 2))))


def _randomised(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Copies of the network, random from the top in three stages."""
    copied = copy.deepcopy(network)
    layers = [
        module for module in copied.modules() if any(True for _ in module.parameters(recurse=False))
    ]
    layers.reverse()
    generator = torch.Generator().manual_seed(_SEED)
    done = 0
    names = ("top third of the layers", "top two thirds of the layers", "all layers")
    for name, share in zip(names, _STAGES, strict=True):
        wanted = max(1, round(share * len(layers)))
        for layer in layers[done:wanted]:
            _randomise(layer, generator)
        done = max(done, wanted)
        yield name, copy.deepcopy(copied)


def _randomise(layer: torch.nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            deviation = float(parameter.std(correction=0)) or float(parameter.abs().mean())
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter.mean() + deviation * noise)

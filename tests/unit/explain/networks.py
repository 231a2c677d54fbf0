"""Networks without training whose answer rests on a known part of the image, and images of it.

The first class is the mean of what is darker than 0.3, the second the mean of what is brighter than
0.7: of a grey image with one bright and one dark box the second rests on the bright box alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

DARKER_THAN, BRIGHTER_THAN, GREY = 0.3, 0.7, 0.5
GAIN = 200.0
CONVOLUTIONS = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}


class DarkAndBright(torch.nn.Module):
    """(batch, 1, *spatial) → (batch, 2, *spatial): how much darker, how much brighter."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.features = CONVOLUTIONS[axes](1, 2, 1)
        # In place, as MONAI's activations are.
        self.activation = torch.nn.ReLU(inplace=True)
        weight = torch.tensor([-1.0, 1.0]).reshape(2, 1, *[1] * axes)
        self.features.weight = torch.nn.Parameter(weight)
        self.features.bias = torch.nn.Parameter(torch.tensor([DARKER_THAN, -BRIGHTER_THAN]))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        found = self.features(batch)
        # In place, too, as the sums of residual networks are.
        found += 0.0
        return self.activation(found)


class BrightClassifier(torch.nn.Module):
    """(batch, 1, *spatial) → (batch, 2) logits."""

    def __init__(self, axes: int = 2) -> None:
        super().__init__()
        self.finder = DarkAndBright(axes)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return GAIN * self.finder(batch).flatten(2).mean(2)


class BrightSegmenter(torch.nn.Module):
    """(batch, 1, *spatial) → (batch, 2, *spatial): background, and what is brighter than 0.7.

    Every voxel is judged by its neighbours, too, so that an answer rests on more than itself.
    """

    def __init__(self, axes: int = 3) -> None:
        super().__init__()
        self.smooth = CONVOLUTIONS[axes](1, 1, 3, padding=1, bias=False)
        weight = torch.full((1, 1, *[3] * axes), 1 / 3**axes)
        self.smooth.weight = torch.nn.Parameter(weight)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        bright = 20 * (self.smooth(batch) - BRIGHTER_THAN)
        return torch.cat([-bright, bright], 1)


class ColourClassifier(torch.nn.Module):
    """(batch, 3, row, column) → (batch, 2) logits that only look at the second channel."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = BrightClassifier(2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.inner(batch[:, 1:2])


class DeepClassifier(torch.nn.Module):
    """Random weights: convolutions at full, half and quarter size, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        layers: list[torch.nn.Module] = []
        for before, after in itertools.pairwise((1, 8, 16, 16)):
            layers += [torch.nn.Conv2d(before, after, 3, padding=1, stride=1 + (before > 1))]
            layers += [torch.nn.ReLU(inplace=True)]
        self.body = torch.nn.Sequential(*layers)
        self.head = torch.nn.Linear(16, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(batch).flatten(2).mean(2))


class LinearClassifier(torch.nn.Module):
    """No convolution: one weight a pixel, of an image of 8 by 8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layer = torch.nn.Linear(64, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch.flatten(1))


def boxes(shape: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the bright and where the dark box of an image of `shape` are."""
    bright = tuple(slice(length // 8, length // 8 + length // 4) for length in shape)
    dark = tuple(slice(length // 2, length // 2 + length // 4) for length in shape)
    return bright, dark


def image_of_boxes(shape: Sequence[int], channels: int = 1) -> torch.Tensor:
    """(1, channel, *shape): grey with a little noise, a bright and a dark box."""
    random = np.random.default_rng(7)
    values = np.full((channels, *shape), GREY) + random.uniform(-0.02, 0.02, (channels, *shape))
    bright, dark = boxes(shape)
    values[(slice(None), *bright)] += 0.4
    values[(slice(None), *dark)] -= 0.4
    return torch.from_numpy(values.astype(np.float32))[None]


def bright_box(shape: Sequence[int]) -> NDArray[np.bool_]:
    """True in the bright box."""
    mask = np.zeros(shape, bool)
    mask[boxes(shape)[0]] = True
    return mask


def share_inside(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Of the pixels with the largest values, as many as the mask has, those that lie in it."""
    top = np.argsort(-values.ravel(), kind="stable")[: mask.sum()]
    return float(mask.ravel()[top].mean())


class EllipsoidSegmenter(torch.nn.Module):
    """(batch, 1, *spatial) in HU → (batch, 2, *spatial): within 20 HU of 116, voxel by voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = torch.nn.Conv3d(1, 2, 1)
        weight = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1, 1)
        self.sides.weight = torch.nn.Parameter(weight)
        self.sides.bias = torch.nn.Parameter(torch.tensor([116.0, -116.0]))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        away = torch.relu(self.sides(batch)).sum(1, keepdim=True)
        return torch.cat([away - 20, 20 - away], 1)

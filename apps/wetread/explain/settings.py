"""What all methods share: how fine they look, and what a pixel is replaced by to take it away."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Settings:
    """How an attribution is computed; the defaults take seconds on a CPU.

    `layer` is what Grad-CAM looks at, by its name in the network; None chooses one. `steps` are
    those of integrated gradients and the samples of SHAP, `regions` those of LIME and
    `perturbations` the images it tries, half as many for a volume; `patches` is how many windows
    of occlusion stand along the longest side. `batch` images go through the network at once.
    """

    layer: str | None = None
    seed: int = 20251125
    steps: int = 32
    regions: int = 60
    perturbations: int = 300
    patches: int = 10
    batch: int = 8


def absent(image: torch.Tensor) -> torch.Tensor:
    """An image of the same shape in which nothing is to be seen: each channel's mean.

    Black is a finding in an X-ray and a value like any other in MR; the mean is neither.
    """
    axes = tuple(range(2, image.ndim))
    return image.mean(dim=axes, keepdim=True).expand_as(image).contiguous()

"""Grad-CAM and Grad-CAM++, by MONAI: all that the gateway itself explains with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from monai.visualize import GradCAM, GradCAMpp
from monai.visualize.visualizer import default_upsampler
from numpy.typing import NDArray

from wetread.explain.layers import default_layer, watchable
from wetread.explain.question import Question, TargetScore
from wetread.explain.settings import Settings

Floats = NDArray[np.float32]


def gradcam(question: Question, settings: Settings) -> Floats:
    """Selvaraju et al., Grad-CAM (2017): never negative; as coarse as the layer."""
    return _cam(GradCAM, question, settings)


def gradcam_plus_plus(question: Question, settings: Settings) -> Floats:
    """Chattopadhay et al., Grad-CAM++ (2018): never negative; as coarse as the layer."""
    return _cam(GradCAMpp, question, settings)


def _cam(kind: type[GradCAM], question: Question, settings: Settings) -> Floats:
    layer = settings.layer or default_layer(question.network, question.image)
    network = watchable(question.network, layer, question.image)
    # Its level does not change a gradient, and Grad-CAM++ takes its exponential.
    with torch.no_grad():
        level = network(question.image)[:, question.target]
    score = _Level(TargetScore(network, question.target), float(level))
    cam = kind(
        score.eval(),
        f"score.network.{layer}.0",
        upsampler=lambda shape: partial(_spread, shape, question.padded or shape),
        postprocessing=lambda x: x,
    )
    found = torch.as_tensor(cam(question.image.clone().requires_grad_(), class_idx=0))
    return np.asarray(found.detach()[0, 0].numpy(), np.float32)


def _spread(shape: Sequence[int], padded: Sequence[int], found: torch.Tensor) -> torch.Tensor:
    """A coarse map (1, 1, *places) on what the layers saw, and of that the image's own part."""
    fine = torch.as_tensor(default_upsampler(padded)(found))
    return fine[(slice(None), slice(None), *(slice(length) for length in shape))]


class _Level(torch.nn.Module):
    """A score counted from `level`."""

    def __init__(self, score: torch.nn.Module, level: float) -> None:
        super().__init__()
        self.score = score
        self.level = level

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.score(batch)
        return scores - self.level

"""Attributions that follow the network's gradient, through MONAI, Captum and shap."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from captum.attr import IntegratedGradients, Saliency
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from wetread.explain.layers import without_inplace
from wetread.explain.question import Question, TargetScore
from wetread.explain.settings import Settings, absent

Floats = NDArray[np.float32]
# As shares of the shortest side: what SHAP takes an image without its details to look like.
_BLURS = (0.05, 0.1, 0.2)


def saliency(question: Question, settings: Settings) -> Floats:  # noqa: ARG001
    """Simonyan et al., Deep Inside Convolutional Networks (2014): the size of the gradient."""
    score = _differentiable(question)
    found = Saliency(score).attribute(_input(question), target=0, abs=True)
    return np.asarray(found[0].detach().numpy().max(axis=0), np.float32)


def integrated_gradients(question: Question, settings: Settings) -> Floats:
    """Sundararajan et al., Axiomatic Attribution (2017), along the way from `absent`.

    Signed: the sum of the map is the difference of the logits at both ends.
    """
    found = IntegratedGradients(_differentiable(question)).attribute(
        _input(question),
        baselines=absent(question.image),
        target=0,
        n_steps=settings.steps,
        internal_batch_size=settings.batch,
    )
    return np.asarray(found[0].detach().numpy().sum(axis=0), np.float32)


def shapley(question: Question, settings: Settings) -> Floats:
    """Lundberg and Lee, A Unified Approach (2017): expected gradients, `shap.GradientExplainer`.

    The background are the image's mean and the image blurred. Signed.
    """
    with warnings.catch_warnings():
        # Of matplotlib's, in a colour map that shap makes when it is imported.
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        import shap
    explainer = shap.GradientExplainer(
        _differentiable(question), _background(question.image), batch_size=settings.batch
    )
    before = np.random.get_state()
    try:
        found = explainer.shap_values(
            question.image.clone(), nsamples=settings.steps, rseed=settings.seed
        )
    finally:
        # shap seeds numpy's own generator, which is everybody's.
        np.random.set_state(before)
    shape = (1, *question.image.shape[1:])
    return np.asarray(np.asarray(found).reshape(shape)[0].sum(axis=0), np.float32)


def _differentiable(question: Question) -> torch.nn.Module:
    return TargetScore(without_inplace(question.network), question.target).eval()


def _input(question: Question) -> torch.Tensor:
    return question.image.clone().requires_grad_()


def _background(image: torch.Tensor) -> torch.Tensor:
    side = min(image.shape[2:])
    sharp = image[0].numpy()
    blurred = [
        torch.from_numpy(gaussian_filter(sharp, (0, *[share * side] * (sharp.ndim - 1))))
        for share in _BLURS
    ]
    return torch.stack([absent(image)[0], *blurred])

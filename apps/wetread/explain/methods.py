"""The methods by their names, and the one door to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from wetread.errors import ConfigError, InferenceUnavailableError, ModelContractError
from wetread.explain.cam import gradcam, gradcam_plus_plus
from wetread.explain.gradients import integrated_gradients, saliency, shapley
from wetread.explain.perturbations import lime, occlusion
from wetread.explain.question import Question
from wetread.explain.settings import Settings

Method = Callable[[Question, Settings], NDArray[np.float32]]

METHODS: Mapping[str, Method] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "saliency": saliency,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
    "lime": lime,
    "shap": shapley,
}


def check_method(method: str, known: Iterable[str]) -> None:
    """Raise ConfigError, with what there is, unless `method` is one of `known`."""
    if method not in known:
        raise ConfigError(f"no method {method!r}", hint=f"choose one of {', '.join(known)}")


def attribute(
    question: Question, method: str, settings: Settings | None = None
) -> NDArray[np.float32]:
    """How much the logit of the question's target rests on each pixel: (*spatial) of its image.

    Above 0 speaks for the target and below 0 against it; saliency has no sign, Grad-CAM shows only
    what speaks for it. The same question and settings always give the same map.

    Raises ConfigError for an unknown method and for Grad-CAM of a network without convolutions,
    ModelContractError if the map is not finite, InferenceUnavailableError if there is no room.
    """
    check_method(method, METHODS)
    settings = settings or Settings()
    torch.manual_seed(settings.seed)
    try:
        found = METHODS[method](question, settings)
    except MemoryError as error:
        raise InferenceUnavailableError(
            f"{method}: no memory for an image of {tuple(question.image.shape[2:])}",
            hint="choose occlusion or lime, which keep no gradients",
        ) from error
    if not np.isfinite(found).all():
        raise ModelContractError(
            f"{method}: {int((~np.isfinite(found)).sum())} of {found.size} values are not finite",
            hint="choose another method, or check the network's weights",
        )
    return found

"""Attributions that take parts of the image away: occlusion, and LIME over superpixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.attr import Occlusion
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from skimage.segmentation import slic

from wetread.explain.question import Question, TargetScore
from wetread.explain.settings import Settings, absent

Floats = NDArray[np.float32]
_COMPACTNESS = 0.1  # of superpixels on one grey channel of 0 to 1
# A volume has patches³ windows, so its windows do not overlap, and are fewer.
_FEWEST_PATCHES = 6


def occlusion(question: Question, settings: Settings) -> Floats:
    """Zeiler and Fergus, Visualizing and Understanding (2014): how the logit falls. Signed.

    Each window in turn is replaced by `absent`. Windows of an image overlap by half.
    """
    spatial = question.image.shape[2:]
    is_volume = len(spatial) > 2
    patches = max(_FEWEST_PATCHES, settings.patches // 2) if is_volume else settings.patches
    side = max(1, round(max(spatial) / patches))
    window = tuple(min(side, length) for length in spatial)
    strides = window if is_volume else tuple(max(1, length // 2) for length in window)
    channels = question.image.shape[1]
    with torch.no_grad():
        found = Occlusion(TargetScore(question.network, question.target)).attribute(
            question.image,
            sliding_window_shapes=(channels, *window),
            strides=(channels, *strides),
            baselines=absent(question.image),
            target=0,
            perturbations_per_eval=settings.batch,
        )
    # Captum gives the drop to every channel of the window alike.
    return np.asarray(found[0, 0].numpy(), np.float32)


def lime(question: Question, settings: Settings) -> Floats:
    """Ribeiro et al., Why Should I Trust You? (2016): each superpixel's weight. Signed.

    Superpixels (SLIC, of the image in two or three dimensions) are replaced by `absent`.
    """
    image = _channels_last(question.image)
    regions = superpixels(image, settings.regions)
    explainer = _LimeExplainer(random_state=settings.seed)
    found = explainer.explain_instance(
        image,
        _scores(question),
        labels=(0,),
        hide_color=_channels_last(absent(question.image)),
        top_labels=None,
        num_samples=settings.perturbations // (2 if question.image.ndim > 4 else 1),
        batch_size=settings.batch,
        segmentation_fn=lambda _image: regions,
        random_seed=settings.seed,
    )
    weights = np.zeros(int(regions.max()) + 1, np.float32)
    for region, weight in found.local_exp[0]:
        weights[region] = weight
    return weights[regions]


def superpixels(image: Floats, count: int) -> NDArray[np.int64]:
    """About `count` regions of like values of an image (*spatial, channel): (*spatial), from 0."""
    labels = slic(
        image,
        n_segments=count,
        compactness=_COMPACTNESS,
        convert2lab=False,
        channel_axis=-1,
        start_label=0,
    )
    return np.asarray(labels, np.int64)


class _LimeExplainer(LimeImageExplainer):  # type: ignore[misc]
    """LIME on images of any dimension, which draws no progress bar of its own."""

    def data_labels(
        self,
        image: Floats,
        fudged_image: Floats,
        segments: NDArray[np.int64],
        classifier_fn: Callable[[Floats], Floats],
        num_samples: int,
        batch_size: int = 10,
    ) -> tuple[NDArray[Any], Floats]:
        """(sample, region) of 0 and 1, the first sample whole, and (sample, 1) of scores."""
        shape = (num_samples, int(segments.max()) + 1)
        kept = self.random_state.randint(0, 2, shape)
        kept[0] = 1
        scores = []
        for start in range(0, num_samples, batch_size):
            rows = kept[start : start + batch_size]
            shown = rows[:, segments].astype(bool)[..., None]
            scores.append(classifier_fn(np.where(shown, image, fudged_image)))
        return kept, np.concatenate(scores)


def _scores(question: Question) -> Callable[[Floats], Floats]:
    score = TargetScore(question.network, question.target)

    def ask(images: Floats) -> Floats:
        batch = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1), np.float32))
        with torch.no_grad():
            return np.asarray(score(batch).numpy())

    return ask


def _channels_last(image: torch.Tensor) -> Floats:
    return np.ascontiguousarray(np.moveaxis(image[0].numpy(), 0, -1), np.float32)

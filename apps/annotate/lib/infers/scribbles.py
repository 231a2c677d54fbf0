"""Strokes of a reader, grown to a mask by a graph cut; no network, any modality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from monai.transforms import (
    EnsureChannelFirstd,
    LoadImaged,
    ScaleIntensityRangePercentilesd,
)
from monailabel.scribbles.infer import GMMBasedGraphCut, HistogramBasedGraphCut
from monailabel.scribbles.transforms import AddBackgroundScribblesFromROId

# Values beyond these percentiles are clipped, so that one bright vessel is not all contrast.
_LOWER, _UPPER = 0.5, 99.5
FOREGROUND = "foreground"


class _AnyModality:
    """Preparation by the image's own range, on its own grid.

    MONAI Label's is for CT in HU, at a spacing that thin structures do not survive.
    """

    scribbles_bg_label: int
    scribbles_fg_label: int

    def pre_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        """Image and strokes, which lie on one grid."""
        return [
            LoadImaged(keys=["image", "label"]),
            EnsureChannelFirstd(keys=["image", "label"]),
            AddBackgroundScribblesFromROId(
                scribbles="label",
                scribbles_bg_label=self.scribbles_bg_label,
                scribbles_fg_label=self.scribbles_fg_label,
            ),
            ScaleIntensityRangePercentilesd(
                keys="image", lower=_LOWER, upper=_UPPER, b_min=0.0, b_max=1.0, clip=True
            ),
        ]


class HistogramScribbles(_AnyModality, HistogramBasedGraphCut):
    """Likelihoods from histograms (Wang et al., IEEE TMI 2018)."""

    def __init__(self) -> None:
        super().__init__(
            description="strokes, grown by histograms and a graph cut", labels=[FOREGROUND]
        )


class MixtureScribbles(_AnyModality, GMMBasedGraphCut):
    """Likelihoods from Gaussian mixtures (Rother et al., ACM TOG 2004)."""

    def __init__(self) -> None:
        super().__init__(
            description="strokes, grown by Gaussian mixtures and a graph cut", labels=[FOREGROUND]
        )


def scribble_tasks() -> dict[str, Any]:
    """By the names that viewers show."""
    return {"scribbles_histogram": HistogramScribbles(), "scribbles_mixture": MixtureScribbles()}

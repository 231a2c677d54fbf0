"""What several readers agree on: STAPLE (Warfield, 2004), as SimpleITK has it, per segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lib.bundles import Segment
from lib.scoring.agreement import box_around

_AT_LEAST = 0.5
# STAPLE heeds how much background there is: so much of it, whatever the image's size.
MARGIN_VOXELS = 5


@dataclass(frozen=True)
class Performance:
    """Of one reader on one segment, against the consensus; None where it is not defined."""

    sensitivity: float | None
    specificity: float | None


@dataclass(frozen=True)
class Consensus:
    """`labelmap` in the bundle's values; `performance` by segment, in the order of the readers."""

    labelmap: NDArray[np.uint8]
    performance: dict[str, tuple[Performance, ...]]


def staple(labelmaps: Sequence[NDArray[np.uint8]], segments: Sequence[Segment]) -> Consensus:
    """The segment with the largest posterior in each voxel, if that is at least a half.

    Each segment is judged against all else, in the box around all that was drawn and
    `MARGIN_VOXELS` more. One that nobody has drawn is empty, and its sensitivities are None.
    """
    result = np.zeros(labelmaps[0].shape, np.uint8)
    box = box_around(np.any(np.stack([each > 0 for each in labelmaps]), axis=0), MARGIN_VOXELS)
    result[box], performance = _in_box([each[box] for each in labelmaps], segments)
    return Consensus(result, performance)


def _in_box(
    labelmaps: Sequence[NDArray[np.uint8]], segments: Sequence[Segment]
) -> tuple[NDArray[np.uint8], dict[str, tuple[Performance, ...]]]:
    result = np.zeros(labelmaps[0].shape, np.uint8)
    best = np.full(result.shape, np.nextafter(_AT_LEAST, 0.0))
    performance = {}
    for each in segments:
        masks = [labelmap == each.label_value for labelmap in labelmaps]
        if not any(mask.any() for mask in masks):
            performance[each.label] = (Performance(None, 1.0),) * len(masks)
            continue
        posterior, performance[each.label] = _posterior(masks)
        wins = posterior > best
        result[wins], best[wins] = each.label_value, posterior[wins]
    return result, performance


def _posterior(
    masks: Sequence[NDArray[np.bool_]],
) -> tuple[NDArray[np.float64], tuple[Performance, ...]]:
    found = SimpleITK.STAPLEImageFilter()
    found.SetForegroundValue(1.0)
    image = found.Execute([SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in masks])
    figures = zip(found.GetSensitivity(), found.GetSpecificity(), strict=True)
    told = tuple(Performance(_number(first), _number(second)) for first, second in figures)
    return SimpleITK.GetArrayFromImage(image), told


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None

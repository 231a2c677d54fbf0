"""How far two labels of one image agree, segment by segment, in millimetres and millilitres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from lib.bundles import Segment

PERCENTILE = 95.0
_DIGITS = 4


@dataclass(frozen=True)
class Agreement:
    """Of two masks: `dice` is 1 where both are empty; distances are None where one is.

    The surface of a mask are its outermost voxels, their distances those of the centres: the mean
    over both surfaces, and the larger of the two 95th percentiles. Volumes are in mL; `changed_ml`
    is what only one of them holds.
    """

    dice: float
    mean_surface_mm: float | None
    hd95_mm: float | None
    first_ml: float
    second_ml: float
    changed_ml: float

    def as_info(self) -> dict[str, float | None]:
        """What a client sees."""
        return {
            name: None if value is None else round(value, _DIGITS)
            for name, value in asdict(self).items()
        }


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Millimetres between voxels along each axis of a grid."""
    first, second, third = np.linalg.norm(affine[:3, :3], axis=0)
    return float(first), float(second), float(third)


def compare(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> Agreement:
    """Two masks on one grid, whose axes are at right angles."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    sizes = int(first.sum()), int(second.sum())
    both = int(np.logical_and(first, second).sum())
    dice = 2.0 * both / sum(sizes) if any(sizes) else 1.0
    mean, hd95 = _distances(first, second, spacing_mm) if all(sizes) else (None, None)
    return Agreement(
        dice=dice,
        mean_surface_mm=mean,
        hd95_mm=hd95,
        first_ml=sizes[0] * voxel_ml,
        second_ml=sizes[1] * voxel_ml,
        changed_ml=(sum(sizes) - 2 * both) * voxel_ml,
    )


def compare_labels(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    segments: Sequence[Segment],
    spacing_mm: Sequence[float],
) -> dict[str, Agreement]:
    """Name of each segment → how far the two labelmaps agree on it."""
    return {
        each.label: compare(first == each.label_value, second == each.label_value, spacing_mm)
        for each in segments
    }


def _distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> tuple[float, float]:
    box = box_around(first | second)
    ours, theirs = (_surface(each[box]) for each in (first, second))
    there = distance_transform_edt(~theirs, sampling=spacing_mm)[ours]
    back = distance_transform_edt(~ours, sampling=spacing_mm)[theirs]
    hd95 = max(np.percentile(there, PERCENTILE), np.percentile(back, PERCENTILE))
    return float(np.concatenate([there, back]).mean()), float(hd95)


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels with a face to the outside, or to the border of the box."""
    outside: NDArray[np.bool_] = mask & ~binary_erosion(mask)
    return outside


def box_around(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, ...]:
    """Around all that is true and `margin` voxels more; the whole grid if nothing is."""
    if not mask.any():
        return tuple(slice(0, size) for size in mask.shape)
    axes = range(mask.ndim)
    ranges = [
        np.flatnonzero(mask.any(axis=tuple(each for each in axes if each != axis))) for axis in axes
    ]
    return tuple(
        slice(max(0, int(each[0]) - margin), int(each[-1]) + 1 + margin) for each in ranges
    )

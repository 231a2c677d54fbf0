"""Outlines of a mask as image-relative coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, find_contours

Floats = NDArray[np.float64]

# Graphic Data is FL, whose length in an explicit VR has 16 bits (PS3.5 7.1.2): 8191 points.
MOST_POINTS = 8000
FIRST_TOLERANCE_PIXELS = 0.5


def largest_contour(mask: NDArray[np.bool_]) -> Floats:
    """The closed outline of the largest part of a mask that is not empty.

    `mask` is (row, column). Returns (point, 2) as (column, row), first point = last point. The
    corner of the first pixel is (0, 0) and its centre (0.5, 0.5): PS3.3 C.18.6.1.2. Points on a
    straight line are left out; an outline that no object could hold is made coarser.
    """
    padded = np.pad(mask, 1).astype(np.float32)
    contours: Sequence[Floats] = find_contours(padded, 0.5)
    outline = max(contours, key=enclosed_area)
    # Undo the padding by one, then move from pixel centres to corners by one half.
    return _held(_corners(outline[:, ::-1] - 0.5))


def _corners(outline: Floats) -> Floats:
    """A closed outline without the points at which it does not turn; the first one stays."""
    before, after = np.diff(outline[:-1], axis=0), np.diff(outline[1:], axis=0)
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return np.asarray(outline[np.concatenate([[True], turns, [True]])])


def _held(outline: Floats) -> Floats:
    """The outline, or one with few enough of its points, off it by a pixel or so."""
    tolerance = FIRST_TOLERANCE_PIXELS
    while len(outline) > MOST_POINTS:
        outline = np.asarray(approximate_polygon(outline, tolerance))
        tolerance *= 2
    return outline


def enclosed_area(points: Floats) -> float:
    """The area inside a closed polygon (shoelace), in the square of the points' unit."""
    first, second = points[:, 0], points[:, 1]
    return abs(float(first[:-1] @ second[1:] - first[1:] @ second[:-1])) / 2


def frame_rectangle(rows: int, columns: int) -> Floats:
    """The closed outline of a whole frame, (column, row)."""
    return np.array([(0, 0), (columns, 0), (columns, rows), (0, rows), (0, 0)], float)

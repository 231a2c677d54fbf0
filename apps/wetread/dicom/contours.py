"""Outlines of a mask as image-relative coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

Floats = NDArray[np.float64]


def largest_contour(mask: NDArray[np.bool_]) -> Floats:
    """The closed outline of the largest part of a mask that is not empty.

    `mask` is (row, column). Returns (point, 2) as (column, row), first point = last point. The
    corner of the first pixel is (0, 0) and its centre (0.5, 0.5): PS3.3 C.18.6.1.2.
    """
    padded = np.pad(mask, 1).astype(np.float32)
    contours: Sequence[Floats] = find_contours(padded, 0.5)
    outline = max(contours, key=enclosed_area)
    # Undo the padding by one, then move from pixel centres to corners by one half.
    return np.asarray(outline[:, ::-1] - 0.5)


def enclosed_area(points: Floats) -> float:
    """The area inside a closed polygon (shoelace), in the square of the points' unit."""
    first, second = points[:, 0], points[:, 1]
    return abs(float(first[:-1] @ second[1:] - first[1:] @ second[:-1])) / 2


def frame_rectangle(rows: int, columns: int) -> Floats:
    """The closed outline of a whole frame, (column, row)."""
    return np.array([(0, 0), (columns, 0), (columns, rows), (0, rows), (0, 0)], float)

"""The true outlines of a mask, along the edges of its pixels.

Such an outline encloses exactly the area of its pixels, and no pixel's centre lies on it: who fills
it again, by whatever rule, gets the mask back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from skimage.measure import find_contours

Mask = NDArray[np.bool_]
Corners = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ring:
    """One closed outline: every corner of a pixel on it, as (column, row), the first one once.

    The outer corner of the first pixel is (0, 0), its centre (0.5, 0.5). Around a hole a ring runs
    the other way. Rings of one island, whose pixels hang together by their sides, share `island`.
    """

    corners: Corners
    island: int
    is_hole: bool


def rings_of(mask: Mask) -> list[Ring]:
    """Every outline of a mask (row, column); none of an empty one."""
    padded = np.pad(mask, 1)
    islands, _ = label(padded)
    rings = []
    # Background that touches at a corner hangs together, so that a ring never crosses itself.
    for midpoints in find_contours(padded.astype(np.float32), 0.5, fully_connected="low"):
        inside = np.stack([np.floor(midpoints[0]), np.ceil(midpoints[0])]).astype(int)
        island = int(islands[tuple(inside.T)].max())
        corners = _corners_between(midpoints)
        rings.append(Ring(corners, island, is_hole=_signed_area(corners) < 0))
    return rings


def polygons_of(mask: Mask, most_points: int) -> list[Corners]:
    """A mask as polygons that do not overlap, one an island, of at most `most_points` corners.

    Each is (corner, 2) as (column, row), without repeating the first. A hole is joined to what lies
    left of it by a channel without width, so one polygon says it all, whether its reader fills by
    winding or by parity, and whether it adds polygons or excludes one from another. An island with
    more corners is cut in two, as often as need be.
    """
    rings = rings_of(mask)
    polygons = []
    for outer in (ring for ring in rings if not ring.is_hole):
        holes = [ring.corners for ring in rings if ring.is_hole and ring.island == outer.island]
        polygon = turning_points(_joined(outer.corners, holes))
        if len(polygon) > most_points:
            for half in _halves(_island_of(mask, outer)):
                polygons += polygons_of(half, most_points)
        else:
            polygons.append(polygon)
    return polygons


def turning_points(corners: Corners) -> Corners:
    """A closed outline without the corners at which it goes straight on."""
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    return np.asarray(corners[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]])


def _corners_between(midpoints: NDArray[np.float64]) -> Corners:
    """From the middles of the edges that a closed ring runs along to the corners between them.

    `midpoints` are (row, column) in a mask that was padded by one, pixel centres at whole numbers.
    """
    here, there = midpoints[:-1], midpoints[1:]
    corners = np.where(here % 1, here, np.where(there % 1, there, (here + there) / 2))
    return np.asarray(np.rint(corners[:, ::-1] - 0.5), np.int64)


def _signed_area(corners: Corners) -> int:
    """Twice the area inside; negative around a hole, as find_contours turns there."""
    following = np.roll(corners, -1, axis=0)
    return int((corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]).sum())


def _joined(outer: Corners, holes: list[Corners]) -> Corners:
    polygon = outer
    # From left to right, so that what lies left of a hole already belongs to the polygon.
    for hole in sorted(holes, key=_leftmost):
        column, row = _leftmost(hole)
        start = int(np.flatnonzero((hole == (column, row)).all(axis=1))[0])
        turned = np.roll(hole, -start, axis=0)
        left = np.flatnonzero((polygon[:, 1] == row) & (polygon[:, 0] < column))
        at = int(left[polygon[left, 0].argmax()])
        polygon = np.concatenate([polygon[: at + 1], turned, turned[:1], polygon[at:]])
    return polygon


def _leftmost(corners: Corners) -> tuple[int, int]:
    """The uppermost of the leftmost corners."""
    column = corners[:, 0].min()
    return int(column), int(corners[corners[:, 0] == column, 1].min())


def _island_of(mask: Mask, outer: Ring) -> Mask:
    islands, _ = label(np.pad(mask, 1))
    return np.asarray(islands[1:-1, 1:-1] == outer.island)


def _halves(mask: Mask) -> tuple[Mask, Mask]:
    """A mask cut across its longer side."""
    places = np.argwhere(mask)
    axis = int((places.max(axis=0) - places.min(axis=0)).argmax())
    middle = int(np.median(np.unique(places[:, axis]))) + 1
    first, second = mask.copy(), mask.copy()
    np.moveaxis(first, axis, 0)[middle:] = False
    np.moveaxis(second, axis, 0)[:middle] = False
    return first, second

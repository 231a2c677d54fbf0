"""Outlines of a mask hold its pixels, and no others: filled by other software they give it back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.path import Path
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from wetread.dicom.outlines import polygons_of, rings_of, turning_points

Mask = NDArray[np.bool_]
SMALL_MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def drawn(*rows: str) -> Mask:
    return np.array([[letter == "#" for letter in row] for row in rows])


def times_filled(polygons: list[NDArray[np.int64]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """How many polygons each pixel's centre lies in, by scikit-image (parity)."""
    found = np.zeros(shape, np.int64)
    for polygon in polygons:
        found += polygon2mask(shape, polygon[:, ::-1] - 0.5)
    return found


def times_wound(polygons: list[NDArray[np.int64]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The same by matplotlib, which fills by winding."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5
    found = np.zeros(shape, np.int64)
    for polygon in polygons:
        closed = np.concatenate([polygon, polygon[:1]]).astype(float)
        found += Path(closed, closed=True).contains_points(centres).reshape(shape)
    return found


def area(polygon: NDArray[np.int64]) -> float:
    x, y = polygon.T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2


@given(SMALL_MASKS, st.sampled_from([4, 12, 10_000]))
def test_any_mask_comes_back_from_its_polygons(mask: Mask, most_points: int) -> None:
    """By parity and by winding, each pixel once; and the area is that of the pixels."""
    polygons = polygons_of(mask, most_points)
    assert np.array_equal(times_filled(polygons, mask.shape), mask)
    assert np.array_equal(times_wound(polygons, mask.shape), mask)
    assert sum(map(area, polygons)) == mask.sum()
    assert all(4 <= len(polygon) <= most_points for polygon in polygons)


@given(SMALL_MASKS)
def test_any_mask_comes_back_from_its_rings(mask: Mask) -> None:
    rings = rings_of(mask)
    outer = [turning_points(ring.corners) for ring in rings if not ring.is_hole]
    holes = [turning_points(ring.corners) for ring in rings if ring.is_hole]
    filled = times_filled(outer, mask.shape) - times_filled(holes, mask.shape)
    assert np.array_equal(filled, mask)


def test_one_pixel_is_a_square() -> None:
    [polygon] = polygons_of(drawn("...", "..#"), 10)
    assert sorted(map(tuple, polygon.tolist())) == [(2, 1), (2, 2), (3, 1), (3, 2)]


def test_an_island_in_a_hole_is_an_island_of_its_own() -> None:
    mask = drawn("#####", "#...#", "#.#.#", "#...#", "#####")
    assert [ring.is_hole for ring in rings_of(mask)].count(True) == 1
    assert sorted(map(area, polygons_of(mask, 100))) == [1.0, 16.0]


def test_pixels_that_touch_at_a_corner_are_two_islands() -> None:
    assert len(polygons_of(drawn("#.", ".#"), 100)) == 2


def test_an_outline_of_too_many_corners_is_cut() -> None:
    comb = drawn("#.#.#.#.#", "#########")
    assert [len(polygon) for polygon in polygons_of(comb, 100)] == [20]
    assert max(len(polygon) for polygon in polygons_of(comb, 12)) <= 12


@pytest.mark.parametrize("shape", [(3, 4), (0, 0)])
def test_nothing_has_no_outline(shape: tuple[int, int]) -> None:
    assert polygons_of(np.zeros(shape, bool), 10) == []

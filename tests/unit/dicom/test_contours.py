from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.measure import find_contours

from wetread.dicom.contours import enclosed_area, frame_rectangle, largest_contour


def test_one_pixel_is_outlined_around_its_middle() -> None:
    """Pixel (row 2, column 4) reaches from 4 to 5 and from 2 to 3; the corner of the first is 0."""
    outline = largest_contour(mask_of((2, 4)))
    assert {tuple(point) for point in outline} == {(4.5, 2), (5, 2.5), (4.5, 3), (4, 2.5)}
    np.testing.assert_array_equal(outline[0], outline[-1])


def test_a_mask_at_the_edge_is_closed_along_the_edge() -> None:
    outline = largest_contour(np.ones((3, 5), bool))
    assert (outline.min(axis=0) == (0, 0)).all()
    assert (outline.max(axis=0) == (5, 3)).all()
    # Only the corners are cut, an eighth of a pixel each.
    assert enclosed_area(outline) == 15 - 4 / 8


def test_of_two_parts_the_larger_is_outlined() -> None:
    mask = mask_of((0, 0), (0, 1), (4, 3), (4, 4), (4, 5))
    outline = largest_contour(mask)
    assert outline.min(axis=0) == pytest.approx((3, 4))
    assert outline.max(axis=0) == pytest.approx((6, 5))


def test_straight_edges_have_no_points_within() -> None:
    """A square is eight corners, each cut, however large it is."""
    assert len(largest_contour(np.ones((300, 200), bool))) == 8 + 1


@pytest.mark.timeout(60)
def test_an_outline_too_long_for_its_attribute_is_made_coarser() -> None:
    """14,692 corners would need 117 kB, an FL holds 64 kB; what is left stands on the border."""
    mask = np.random.default_rng(0).random((400, 400)) < 0.62
    outline = largest_contour(mask)
    assert 4000 < len(outline) <= 8191
    np.testing.assert_array_equal(outline[0], outline[-1])
    assert_on_border(outline, mask)
    whole = max(map(enclosed_area, find_contours(np.pad(mask, 1).astype(np.float32), 0.5)))
    assert enclosed_area(outline) == pytest.approx(whole, rel=0.02)


def test_the_larger_part_is_that_of_more_area() -> None:
    """A square of 3 × 3 is more than a line of 8, whose outline is longer."""
    square = [(row, column) for row in (0, 1, 2) for column in (0, 1, 2)]
    outline = largest_contour(mask_of(*square, *((9, column) for column in range(8))))
    assert outline.max(axis=0) == pytest.approx((3, 3))


def test_a_hole_is_not_the_outline() -> None:
    """The outer border of a ring, not the larger number of points inside."""
    ring = np.ones((9, 9), bool)
    ring[1:8, 1:8] = False
    outline = largest_contour(ring)
    assert (outline.max(axis=0) == (9, 9)).all()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), min_size=1, max_size=60, unique=True)
)
def test_every_outline_is_closed_and_stands_on_the_border(pixels: list[tuple[int, int]]) -> None:
    """Whatever the mask, each point halves an edge between inside and outside."""
    mask = mask_of(*pixels)
    outline = largest_contour(mask)
    np.testing.assert_array_equal(outline[0], outline[-1])
    assert enclosed_area(outline) > 0
    assert_on_border(outline, mask)


def test_the_area_does_not_depend_on_the_direction() -> None:
    """A rectangle of 4 × 3."""
    rectangle = frame_rectangle(rows=3, columns=4)
    assert enclosed_area(rectangle) == enclosed_area(rectangle[::-1]) == 12.0


def test_a_frame_is_outlined_from_corner_to_corner() -> None:
    expected = [(0, 0), (640, 0), (640, 480), (0, 480), (0, 0)]
    np.testing.assert_array_equal(frame_rectangle(rows=480, columns=640), expected)


def mask_of(*pixels: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of 10 rows and 8 columns with these (row, column) set."""
    mask = np.zeros((10, 8), bool)
    mask[tuple(np.transpose(pixels))] = True
    return mask


def assert_on_border(outline: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
    """Each point halves an edge between a pixel inside and one outside."""
    padded = np.pad(mask, 1)
    for column, row in outline + 1:
        along = (0, 1) if column == int(column) else (1, 0)
        here = int(row), int(column)
        assert padded[here] != padded[here[0] - along[0], here[1] - along[1]]

"""Whatever way a stack lies, and in whatever order its slices come, its voxels stay in place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import Stack, stacks
from wetread.dicom.geometry import Plane, grid_of
from wetread.errors import GeometryError

A_REGULAR_STACK = stacks()
# So many that one gap or shift does not move the median.
A_LONG_STACK = stacks(least=6)


def within(stack: Stack, data: st.DataObject) -> int:
    """A slice that is neither the first nor the last."""
    return data.draw(st.integers(1, len(stack.planes) - 2))


@given(A_REGULAR_STACK, st.randoms(use_true_random=False))
def test_slices_in_any_order_are_one_volume(stack: Stack, random) -> None:
    """Every voxel at its millimetre, slices counted along row direction × column direction."""
    shuffled = list(stack.planes)
    random.shuffle(shuffled)
    grid = grid_of(shuffled, "series 1")
    assert [shuffled[index].name for index in grid.order] == [one.name for one in stack.planes]
    np.testing.assert_allclose(grid.affine, stack.affine, atol=1e-6)


@given(A_LONG_STACK, st.data())
def test_a_missing_slice_is_a_gap_between_its_neighbours(stack: Stack, data) -> None:
    missing = within(stack, data)
    left = [plane for number, plane in enumerate(stack.planes) if number != missing]
    between = rf"gap of \d+\.\d+ mm between instances {missing} and {missing + 2}, "
    with pytest.raises(GeometryError, match=between) as caught:
        grid_of(left, "series 1")
    said = float(caught.value.message.partition("gap of ")[2].partition(" mm")[0])
    assert said == pytest.approx(2 * stack.slice_spacing_mm, abs=0.1)


@given(A_LONG_STACK, st.data())
def test_a_slice_that_comes_twice_is_named(stack: Stack, data) -> None:
    twice = within(stack, data)
    again = replace(stack.planes[twice], name="again")
    with pytest.raises(GeometryError, match=rf"{twice + 1} and again are at the same position"):
        grid_of([*stack.planes, again], "series 1")


@given(A_LONG_STACK, st.data(), st.floats(5, 45))
def test_a_tilt_is_said_in_degrees(stack: Stack, data, degrees: float) -> None:
    """Each slice is shifted in its plane by the tangent of the angle times the distance."""
    along = data.draw(st.sampled_from(["rows", "columns"]))
    shift = np.tan(np.radians(degrees)) * stack.slice_spacing_mm

    def tilted(number: int, plane: Plane) -> Plane:
        return replace(plane, position=plane.position + number * shift * getattr(plane, along))

    planes = [tilted(*each) for each in enumerate(stack.planes)]
    with pytest.raises(GeometryError, match=r"tilted by \d+\.\d°") as caught:
        grid_of(planes, "series 1")
    said = float(caught.value.message.partition("tilted by ")[2].partition("°")[0])
    assert said == pytest.approx(degrees, abs=0.1)


@given(A_LONG_STACK, st.data())
def test_a_slice_that_is_turned_round_is_refused(stack: Stack, data) -> None:
    """Negated columns would be a mirrored slice."""
    number = within(stack, data)
    planes = list(stack.planes)
    planes[number] = replace(planes[number], columns=-planes[number].columns)
    with pytest.raises(GeometryError, match="mixed orientations"):
        grid_of(planes, "series 1")

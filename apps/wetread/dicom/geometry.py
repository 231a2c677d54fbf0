"""Where the pixels of a series are: one plane a slice, checked to form one regular volume.

PS3.3 C.7.6.2.1.1 gives the position of a pixel: Image Position (Patient) is the centre of the
first pixel, in LPS mm; Image Orientation (Patient) holds the direction of a row (increasing
column index), then that of a column (increasing row index).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetread.errors import GeometryError

Floats = NDArray[np.float64]

# Positions are written with few decimals, so a little unevenness is rounding and not a gap.
SPACING_TOLERANCE = 0.01
SPACING_TOLERANCE_MM = 0.01
COSINE_TOLERANCE = 1e-3

RESEND = "ask the sender to send the whole series again"
SPLIT = "send one stack of parallel slices a series"


@dataclass(frozen=True, slots=True)
class Plane:
    """One slice in space.

    `name` is what an error calls it ("41" for Instance Number 41). `position` is in LPS mm, `rows`
    and `columns` are the directions of increasing row and column index, `spacing` is (between rows,
    between columns) in mm, `size` is (rows, columns).
    """

    name: str
    position: Floats
    rows: Floats
    columns: Floats
    spacing: tuple[float, float]
    size: tuple[int, int]

    @property
    def normal(self) -> Floats:
        """Row direction × column direction: the direction in which slices are counted."""
        return np.asarray(np.cross(self.columns, self.rows))


@dataclass(frozen=True, slots=True)
class Grid:
    """The order of the planes along the normal, and the affine of the stack (LPS mm)."""

    order: tuple[int, ...]
    affine: Floats


def grid_of(planes: Sequence[Plane], what: str, noun: str = "instances") -> Grid:
    """Order the planes along their normal and describe the volume they form.

    `what` names the series in errors, `noun` what a plane is of. A distance of neighbours may
    differ from the median by 1 % or 0.01 mm, whichever is more; in the plane a slice may be off
    its neighbour by as much, and the last off the first by half a pixel. Directions may differ by
    0.001.

    Raises GeometryError for one slice, mixed size, spacing or orientation, a repeated position,
    a gap, or a tilted stack.
    """
    if len(planes) < 2:
        raise GeometryError(
            f"{what}: {len(planes)} slice, a volume needs 2 or more",
            hint="send the whole stack of slices",
        )
    _check_alike(planes, what, noun)
    positions = np.array([plane.position for plane in planes])
    distances = positions @ planes[0].normal
    order = np.argsort(distances, kind="stable")
    stack = _Stack(
        positions[order], distances[order], [planes[index].name for index in order], what, noun
    )
    _check_repeats(stack)
    _check_tilt(stack, planes[0])
    _check_spacing(stack)
    return Grid(tuple(int(index) for index in order), _affine(planes, order, distances))


@dataclass(frozen=True, slots=True)
class _Stack:
    """Planes in order along the normal, and what errors call them."""

    positions: Floats
    distances: Floats
    names: Sequence[str]
    what: str
    noun: str

    @property
    def gaps(self) -> Floats:
        """Between neighbours along the normal, mm."""
        return np.diff(self.distances)

    def pair(self, index: int) -> str:
        """The neighbours on both sides of a gap."""
        return f"{self.noun} {self.names[index]} and {self.names[index + 1]}"


def _check_alike(planes: Sequence[Plane], what: str, noun: str) -> None:
    first = planes[0]
    _check_cosines(first, what)
    for plane in planes[1:]:
        pair = f"{noun} {first.name} and {plane.name}"
        if plane.size != first.size:
            raise GeometryError(
                f"{what}: mixed sizes, {_times(first.size)} and {_times(plane.size)} pixels "
                f"in {pair}",
                hint=SPLIT,
            )
        if not np.allclose(plane.spacing, first.spacing, rtol=SPACING_TOLERANCE / 10, atol=0):
            raise GeometryError(
                f"{what}: mixed pixel spacing, {_times(first.spacing)} and "
                f"{_times(plane.spacing)} mm in {pair}",
                hint=SPLIT,
            )
        turn = max(
            np.abs(plane.rows - first.rows).max(), np.abs(plane.columns - first.columns).max()
        )
        if turn > COSINE_TOLERANCE:
            raise GeometryError(
                f"{what}: mixed orientations, {_cosines(first)} and {_cosines(plane)} in {pair}",
                hint=SPLIT,
            )


def _check_cosines(plane: Plane, what: str) -> None:
    lengths = np.array([plane.columns @ plane.columns, plane.rows @ plane.rows])
    skew = abs(float(plane.columns @ plane.rows))
    if np.abs(lengths - 1).max() > 2 * COSINE_TOLERANCE or skew > COSINE_TOLERANCE:
        raise GeometryError(
            f"{what}: orientation {_cosines(plane)} of instance {plane.name} is not a pair of "
            "perpendicular unit vectors",
            hint="correct Image Orientation (Patient) at the sender",
        )
    if min(plane.spacing) <= 0:
        raise GeometryError(
            f"{what}: pixel spacing {_times(plane.spacing)} mm of instance {plane.name}",
            hint="correct Pixel Spacing at the sender",
        )


def _check_repeats(stack: _Stack) -> None:
    same = np.flatnonzero(stack.gaps < SPACING_TOLERANCE_MM)
    if not same.size:
        return
    first = int(same[0])
    apart = float(np.linalg.norm(stack.positions[first + 1] - stack.positions[first]))
    if apart > SPACING_TOLERANCE_MM * 10:
        raise GeometryError(
            f"{stack.what}: {stack.pair(first)} lie in one plane, {apart:.1f} mm apart",
            hint=SPLIT,
        )
    raise GeometryError(
        f"{stack.what}: {stack.pair(first)} are at the same position "
        f"({stack.distances[first]:.1f} mm along the normal), {same.size} repeated in all",
        hint="send one phase, echo or reconstruction a series",
    )


def _check_spacing(stack: _Stack) -> None:
    gaps = stack.gaps
    median = float(np.median(gaps))
    off = np.abs(gaps - median)
    uneven = int((off > max(SPACING_TOLERANCE * median, SPACING_TOLERANCE_MM)).sum())
    if not uneven:
        return
    worst = int(np.argmax(off))
    digits = 1 if off[worst] >= 0.1 else 3
    rest = f"; {uneven} of {len(gaps)} distances differ" if uneven > 1 else ""
    raise GeometryError(
        f"{stack.what}: gap of {gaps[worst]:.{digits}f} mm between {stack.pair(worst)}, others "
        f"are {median:.{digits}f} mm{rest}",
        hint=RESEND,
    )


def _check_tilt(stack: _Stack, plane: Plane) -> None:
    offsets = (stack.positions - stack.positions[0]) @ np.stack([plane.rows, plane.columns], axis=1)
    steps = np.linalg.norm(np.diff(offsets, axis=0), axis=1)
    drift = float(np.linalg.norm(offsets, axis=1).max())
    worst = int(np.argmax(steps))
    allowed = max(SPACING_TOLERANCE * float(np.median(stack.gaps)), SPACING_TOLERANCE_MM)
    if steps[worst] > allowed or drift > min(plane.spacing) / 2:
        angle = float(np.degrees(np.median(np.arctan2(steps, stack.gaps))))
        raise GeometryError(
            f"{stack.what}: tilted by {angle:.1f}°, {stack.pair(worst)} are "
            f"shifted by {steps[worst]:.2f} mm in the plane, {drift:.1f} mm over the series",
            hint="acquire without gantry tilt, or reformat to perpendicular slices",
        )


def _affine(planes: Sequence[Plane], order: NDArray[np.intp], distances: Floats) -> Floats:
    first = planes[int(order[0])]
    # The mean step keeps both ends of the stack where they are.
    step = float(distances[order[-1]] - distances[order[0]]) / (len(planes) - 1)
    columns = first.columns / np.linalg.norm(first.columns)
    rows = first.rows - columns * (columns @ first.rows)
    rows /= np.linalg.norm(rows)
    affine = np.eye(4)
    affine[:3, 0] = np.cross(columns, rows) * step
    affine[:3, 1] = rows * first.spacing[0]
    affine[:3, 2] = columns * first.spacing[1]
    affine[:3, 3] = first.position
    return affine


def _times(values: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)


def _cosines(plane: Plane) -> str:
    values = (*plane.columns, *plane.rows)
    return "(" + ", ".join(f"{value + 0.0:.3g}" for value in values) + ")"

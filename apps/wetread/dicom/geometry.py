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


def grid_of(planes: Sequence[Plane], what: str) -> Grid:
    """Order the planes along their normal and describe the volume they form.

    `what` names the series in errors. A distance of neighbours may differ from the median by 1 %
    or 0.01 mm, whichever is more; in the plane a slice may be off its neighbour by as much, and
    the last off the first by half a pixel. Directions may differ by 0.001.

    Raises GeometryError for one slice, mixed size, spacing or orientation, a repeated position,
    a gap, or a tilted stack.
    """
    kind = what.rsplit(" ", 1)[0]
    if len(planes) < 2:
        raise GeometryError(
            f"{what}: {len(planes)} slice, a volume needs 2 or more",
            hint=f"route this {kind} to a model that reads single images",
        )
    _check_alike(planes, what)
    positions = np.array([plane.position for plane in planes])
    distances = positions @ planes[0].normal
    order = np.argsort(distances, kind="stable")
    names = [planes[index].name for index in order]
    _check_spacing(distances[order], names, what)
    _check_tilt(positions[order], planes[0], names, what)
    return Grid(tuple(int(index) for index in order), _affine(planes, order, distances))


def _check_alike(planes: Sequence[Plane], what: str) -> None:
    first = planes[0]
    _check_cosines(first, what)
    for plane in planes[1:]:
        pair = f"instances {first.name} and {plane.name}"
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


def _check_spacing(distances: Floats, names: Sequence[str], what: str) -> None:
    gaps = np.diff(distances)
    median = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE * median, SPACING_TOLERANCE_MM)
    same = np.flatnonzero(gaps < SPACING_TOLERANCE_MM)
    if same.size:
        first = int(same[0])
        raise GeometryError(
            f"{what}: instances {names[first]} and {names[first + 1]} are at the same position "
            f"({distances[first]:.1f} mm along the normal), {same.size} repeated in all",
            hint="send one phase, echo or reconstruction a series",
        )
    worst = int(np.argmax(np.abs(gaps - median)))
    if abs(gaps[worst] - median) > tolerance:
        digits = 1 if abs(gaps[worst] - median) >= 0.1 else 3
        raise GeometryError(
            f"{what}: gap of {gaps[worst]:.{digits}f} mm between instances {names[worst]} and "
            f"{names[worst + 1]}, others are {median:.{digits}f} mm",
            hint=RESEND,
        )


def _check_tilt(positions: Floats, plane: Plane, names: Sequence[str], what: str) -> None:
    offsets = (positions - positions[0]) @ np.stack([plane.rows, plane.columns], axis=1)
    steps = np.linalg.norm(np.diff(offsets, axis=0), axis=1)
    spacing = float((positions[-1] - positions[0]) @ plane.normal) / (len(positions) - 1)
    drift = float(np.linalg.norm(offsets, axis=1).max())
    worst = int(np.argmax(steps))
    allowed = max(SPACING_TOLERANCE * spacing, SPACING_TOLERANCE_MM)
    if steps[worst] > allowed or drift > min(plane.spacing) / 2:
        angle = float(np.degrees(np.arctan2(np.median(steps), spacing)))
        raise GeometryError(
            f"{what}: tilted by {angle:.1f}°, instances {names[worst]} and {names[worst + 1]} are "
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

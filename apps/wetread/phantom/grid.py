"""A regular grid of voxels in the patient, and where its points lie for the anatomy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wetread.phantom.solids import Box, Floats

Matrix = NDArray[np.float64]
Ranges = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Grid:
    """`shape` is (slice, row, column); `affine` maps the centre of such a voxel to LPS mm."""

    shape: tuple[int, int, int]
    affine: Matrix = field(repr=False)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns."""
        slices, rows, columns = (float(x) for x in np.linalg.norm(self.affine[:3, :3], axis=0))
        return slices, rows, columns

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def refined(self, factors: tuple[int, int, int]) -> Grid:
        """The grid in which each voxel is cut into `factors` parts along each axis."""
        slices, rows, columns = (n * f for n, f in zip(self.shape, factors, strict=True))
        affine = self.affine.copy()
        affine[:3, :3] /= factors
        # The first part's centre lies half a voxel less half a part before the voxel's own.
        affine[:3, 3] += self.affine[:3, :3] @ ((1 / np.asarray(factors) - 1) / 2)
        return Grid((slices, rows, columns), affine)

    def slab(self, first: int, last: int) -> Grid:
        """Slices `first` to before `last`."""
        affine = self.affine.copy()
        affine[:3, 3] += first * self.affine[:3, 0]
        return Grid((last - first, *self.shape[1:]), affine)

    def inside(self, box: Box, to_local: Matrix) -> Ranges:
        """The voxels that may lie in a box of local mm. `to_local` maps LPS mm to local mm."""
        to_index = np.linalg.inv(to_local @ self.affine)
        corners = np.array(list(itertools.product(*zip(*box, strict=True))))
        index = corners @ to_index[:3, :3].T + to_index[:3, 3]
        low = np.clip(np.floor(index.min(axis=0)), 0, self.shape).astype(int)
        high = np.clip(np.ceil(index.max(axis=0)) + 1, 0, self.shape).astype(int)
        return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])

    def points(self, ranges: Ranges, to_local: Matrix) -> tuple[Floats, Floats, Floats]:
        """Local x, y and z of those voxels; they broadcast to the shape of the ranges."""
        matrix = to_local @ self.affine
        index = [np.arange(one.start, one.stop) for one in ranges]
        open_index = np.ix_(*index)
        x, y, z = (_along(open_index, matrix[axis]) for axis in range(3))
        return x, y, z


def _along(index: tuple[NDArray[np.signedinteger], ...], row: Matrix) -> Floats:
    """row · (slice, row, column, 1); an axis that adds nothing keeps the length 1."""
    total = np.full((1, 1, 1), row[3], np.float32)
    for numbers, step in zip(index, row, strict=False):
        if abs(step) > 1e-9:
            total = total + (numbers * step).astype(np.float32)
    return total


def centred_grid(
    shape: tuple[int, int, int],
    field_of_view_mm: tuple[float, float, float],
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    turn: Matrix | None = None,
) -> Grid:
    """An axial grid around `centre_mm`: slices go up, rows to the back, columns to the left.

    `field_of_view_mm` is the extent along slices, rows and columns. `turn` is a rotation of the
    whole grid in LPS.
    """
    spacing = np.divide(field_of_view_mm, shape)
    # Columns of the matrix: +S, +P, +L.
    axes = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ (axes * spacing)
    affine[:3, 3] = np.asarray(centre_mm) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine)


def rotation(degrees: tuple[float, float, float]) -> Matrix:
    """Turns about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix

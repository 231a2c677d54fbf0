"""One synthetic patient in the modalities asked for: the same anatomy on the same grid."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wetread.phantom.anatomy import Anatomy, Side
from wetread.phantom.chest import build_chest
from wetread.phantom.contrast import Modality, value_table
from wetread.phantom.effects import Image, imaged
from wetread.phantom.grid import Grid, centred_grid, rotation
from wetread.phantom.head import build_head
from wetread.phantom.recipe import Recipe
from wetread.phantom.tissues import NO_LESION

Build = Callable[[np.random.Generator, str, Side | None], Anatomy]
_BUILDERS: Mapping[str, Build] = {"head": build_head, "chest": build_chest}
# Points a mm along each ray of a projection.
_RAY_STEP_MM = 1.0
_ROWS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True)
class Projection:
    """A radiograph by parallel rays along y: line integrals of the attenuation, (row, column).

    Rows go down, columns to the patient's left.
    """

    integral: Image
    pixel_mm: float

    def presented(self) -> Image:
        """The image for presentation, 0 (air) to 1: local contrast raised, then a window.

        The window is that between the 1st and 99.8th percentile of what is not air.
        """
        smooth = ndimage.gaussian_filter(self.integral, 15.0 / self.pixel_mm)
        detailed = self.integral + np.float32(0.8) * (self.integral - smooth)
        low, high = np.percentile(detailed[self.integral > 0.5], (1.0, 99.8))
        return np.asarray(np.clip((detailed - low) / max(high - low, 1e-6), 0, 1), np.float32)


@dataclass(frozen=True, slots=True)
class SyntheticStudy:
    """A patient and their images.

    `labels` and each of `images` have the shape of `grid`, (slice, row, column).
    """

    subject: str
    number: int
    recipe: Recipe
    anatomy: Anatomy
    grid: Grid
    labels: NDArray[np.uint8] = field(repr=False)
    images: Mapping[Modality, Image] = field(repr=False)
    projection: Projection | None = None

    @property
    def label(self) -> str:
        """The class of the lesion, "none" without one."""
        return self.anatomy.lesion.kind if self.anatomy.lesion else NO_LESION


def make_study(recipe: Recipe, number: int) -> SyntheticStudy:
    """Subject `number` (from 0) of a recipe; the same two always give the same study."""
    lesion = recipe.classes[number % len(recipe.classes)]
    build = _BUILDERS[recipe.anatomy]
    anatomy = build(_rng(recipe, number, "anatomy"), lesion, recipe.side)
    grid = _grid(anatomy, recipe, _rng(recipe, number, "grid"))
    volumes = [one for one in recipe.modalities if one is not Modality.DX]
    projection = None
    if Modality.DX in recipe.modalities:
        projection = _project(anatomy, recipe, _rng(recipe, number, "DX"))
    return SyntheticStudy(
        subject=f"{recipe.anatomy}-{recipe.seed:04}-{number:04}",
        number=number,
        recipe=recipe,
        anatomy=anatomy,
        grid=grid,
        labels=anatomy.labels_on(grid),
        images=_scan(anatomy, grid, volumes, recipe, number),
        projection=projection,
    )


def mean_values(fine_labels: NDArray[np.uint8], table: NDArray[np.float32], factor: int) -> Image:
    """The mean value of the factor³ parts of each voxel."""
    total: Image | None = None
    for place in np.ndindex(factor, factor, factor):
        part = table[fine_labels[tuple(slice(start, None, factor) for start in place)]]
        total = part if total is None else np.add(total, part, out=total)
    return np.asarray(total, np.float32) / np.float32(factor**3)


def _scan(
    anatomy: Anatomy, grid: Grid, modalities: Sequence[Modality], recipe: Recipe, number: int
) -> Mapping[Modality, Image]:
    if not modalities:
        return {}
    factor = 1 + round(recipe.effects.partial_volume)
    fine = anatomy.labels_on(grid.refined((factor, factor, factor)))
    found = {}
    for modality in modalities:
        rng = _rng(recipe, number, modality)
        signal = mean_values(fine, value_table(anatomy.tissues, modality), factor)
        found[modality] = imaged(signal, modality, recipe.effects, rng)
    return found


def _grid(anatomy: Anatomy, recipe: Recipe, rng: np.random.Generator) -> Grid:
    slices = max(4, round(recipe.slices / (1 + recipe.effects.thick_slices / 2)))
    angles = rng.uniform(-1, 1, 3)
    angles *= 6.0 * recipe.effects.oblique / max(float(np.abs(angles).max()), 1e-6)
    turn = rotation((float(angles[0]), float(angles[1]), float(angles[2])))
    shape = (slices, recipe.matrix, recipe.matrix)
    return centred_grid(shape, anatomy.field_of_view_mm, turn=turn)


def _project(anatomy: Anatomy, recipe: Recipe, rng: np.random.Generator) -> Projection:
    height, width = anatomy.radiograph_mm
    pixel_mm = width / (2 * recipe.matrix)
    rows, steps = round(height / pixel_mm), round(anatomy.field_of_view_mm[1] / _RAY_STEP_MM)
    affine = np.eye(4)
    # Axes: row (down), along the ray (to the back), column (to the left).
    affine[:3, :3] = [[0, 0, pixel_mm], [0, _RAY_STEP_MM, 0], [-pixel_mm, 0, 0]]
    shape = (rows, steps, 2 * recipe.matrix)
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    grid = Grid(shape, affine)
    table = value_table(anatomy.tissues, Modality.DX) * np.float32(_RAY_STEP_MM)
    slabs = [
        table[anatomy.labels_on(grid.slab(first, min(first + _ROWS_AT_A_TIME, rows)))].sum(axis=1)
        for first in range(0, rows, _ROWS_AT_A_TIME)
    ]
    integral = np.concatenate(slabs)
    return Projection(imaged(integral, Modality.DX, recipe.effects, rng), pixel_mm)


def _rng(recipe: Recipe, number: int, purpose: str) -> np.random.Generator:
    """Each purpose draws from a stream of its own: one more modality changes no other."""
    return np.random.default_rng([recipe.seed, number, zlib.crc32(purpose.encode())])

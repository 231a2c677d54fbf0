"""A patient as a list of structures: where each lies, what it is made of, its volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wetread.errors import ConfigError
from wetread.phantom.grid import Grid, Matrix
from wetread.phantom.solids import Box, Solid, Superellipsoid, Triple, overlap_ml
from wetread.phantom.tissues import AIR, Tissue

Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = ("left", "right")
_DIRECTIONS = 400
# So far off the midline that no pose brings it to the other side of the scanner's.
_OFF_MIDLINE_MM = 18.0


@dataclass(frozen=True, slots=True)
class Structure:
    """One named part. Its solids are disjoint; they lie wholly in the structure `inside`.

    It is painted over what stands before it in the list. Of the structures in `over` it may cover
    a part, too; of no other.
    """

    name: str
    tissue: Tissue
    solids: tuple[Solid, ...]
    inside: str = ""
    over: tuple[str, ...] = ()

    @property
    def gross_ml(self) -> float:
        """Its volume with everything that lies in it."""
        return sum(solid.volume_ml for solid in self.solids)


@dataclass(frozen=True, slots=True)
class Lesion:
    """What is wrong with the patient: its class, its middle in LPS mm, and its size."""

    kind: str
    side: Side
    centre_mm: Triple
    half_axes_mm: Triple
    volume_ml: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Structures in the order of painting, in local mm; `to_lps` places them in the patient.

    Label values are the place in the list, from 1; 0 is the air around.
    `field_of_view_mm` is what an image has to cover, along slices, rows and columns;
    `radiograph_mm` what a radiograph shows, down and across.
    """

    kind: str
    structures: tuple[Structure, ...]
    to_lps: Matrix = field(repr=False)
    field_of_view_mm: Triple
    radiograph_mm: tuple[float, float]
    lesion: Lesion | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the structures; the label value of one is its place here, from 1."""
        return tuple(structure.name for structure in self.structures)

    @property
    def tissues(self) -> tuple[Tissue, ...]:
        """By label value; that of 0 is air."""
        return (AIR, *(structure.tissue for structure in self.structures))

    def label_value(self, name: str) -> int:
        """The value of that structure in a labelmap."""
        return self.names.index(name) + 1

    def volumes_ml(self) -> Mapping[str, float]:
        """The volume of each structure without what is painted over it.

        In closed form, but for partial overlaps, which are integrated at 1 mm.
        """
        net = {structure.name: structure.gross_ml for structure in self.structures}
        by_name = {structure.name: structure for structure in self.structures}
        for structure in self.structures:
            outside = 0.0
            for other in structure.over:
                shared = _shared_ml(structure, by_name[other])
                net[other] -= shared
                outside += shared
            if structure.inside:
                net[structure.inside] -= structure.gross_ml - outside
        return net

    def labels_on(self, grid: Grid) -> NDArray[np.uint8]:
        """The label value at each voxel's centre, (slice, row, column)."""
        labels = np.zeros(grid.shape, np.uint8)
        to_local = np.asarray(np.linalg.inv(self.to_lps), np.float64)
        for value, structure in enumerate(self.structures, start=1):
            for solid in structure.solids:
                ranges = grid.inside(solid.bounds_mm, to_local)
                part = labels[ranges]
                if part.size:
                    found = solid.contains(*grid.points(ranges, to_local))
                    part[np.broadcast_to(found, part.shape)] = value
        return labels


def placed_lesion(
    host: Solid,
    obstacles: tuple[Solid, ...],
    half_axes_mm: Triple,
    side: Side,
    rng: np.random.Generator,
) -> Superellipsoid:
    """An ellipsoid wholly in `host`, on that side, that touches no obstacle; at random.

    Where four attempts find no room it becomes smaller by 3 %. Raises ConfigError if it would have
    to be smaller than a third.
    """
    low, high = _half(host.bounds_mm, side)
    for attempt in range(4 * 36):
        axes = tuple(axis * 0.97 ** (attempt // 4) for axis in half_axes_mm)
        centre = tuple(float(value) for value in rng.uniform(low, high))
        turn = float(rng.uniform(-90, 90))
        lesion = Superellipsoid(_three(centre), _three(axes), turn_degrees=turn)
        if _fits(lesion, host, obstacles, side):
            return lesion
    raise ConfigError(
        f"no room for a lesion of {max(half_axes_mm):.0f} mm on the {side}",
        hint="take another seed",
    )


def _shared_ml(one: Structure, other: Structure) -> float:
    return sum(overlap_ml(mine, its) for mine in one.solids for its in other.solids)


def _half(box: Box, side: Side) -> Box:
    """The part of a box left or right of the midline; x grows to the patient's left."""
    (x0, y0, z0), (x1, y1, z1) = box
    if side == "left":
        return (max(x0, _OFF_MIDLINE_MM), y0, z0), box[1]
    return box[0], (min(x1, -_OFF_MIDLINE_MM), y1, z1)


def _fits(lesion: Superellipsoid, host: Solid, obstacles: tuple[Solid, ...], side: Side) -> bool:
    # A little outside its surface, and its middle: obstacles are larger than it.
    directions = _directions() * 1.05
    angle = np.deg2rad(lesion.turn_degrees)
    a, b, c = lesion.half_axes_mm
    across, along = directions[0] * a, directions[1] * b
    x = lesion.centre_mm[0] + np.cos(angle) * across - np.sin(angle) * along
    y = lesion.centre_mm[1] + np.sin(angle) * across + np.cos(angle) * along
    z = lesion.centre_mm[2] + directions[2] * c
    on_side = bool((x > 0).all() if side == "left" else (x < 0).all())
    return (
        on_side
        and bool(host.contains(x, y, z).all())
        and not any(obstacle.contains(x, y, z).any() for obstacle in obstacles)
    )


def _directions() -> NDArray[np.float32]:
    """Unit vectors spread evenly (Fibonacci's spiral) and the zero vector, shape (3, n)."""
    number = np.arange(_DIRECTIONS) + 0.5
    u = 1 - 2 * number / _DIRECTIONS
    angle = np.pi * (1 + 5**0.5) * number
    flat = np.sqrt(1 - u * u)
    points = np.stack([flat * np.cos(angle), flat * np.sin(angle), u])
    return np.concatenate([points, np.zeros((3, 1))], axis=1).astype(np.float32)


def _three(values: tuple[float, ...]) -> Triple:
    x, y, z = values
    return x, y, z

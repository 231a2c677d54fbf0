"""A head: skin, fat, skull, fluid, a folded cortex around white matter, ventricles, nuclei."""

from __future__ import annotations

import numpy as np

from wetread.phantom.anatomy import Anatomy, Lesion, Side, Structure, placed_lesion
from wetread.phantom.grid import Matrix, rotation
from wetread.phantom.solids import FoldedEllipsoid, Solid, Superellipsoid, Triple
from wetread.phantom.tissues import (
    HEAD_LESIONS,
    NO_LESION,
    tissue_of_lesion,
    tissues_of_subject,
)

FIELD_OF_VIEW_MM = (212.0, 230.0, 230.0)
RADIOGRAPH_MM = (230.0, 200.0)
# Half axes along x, y and z at the middle size, mm.
_SKIN, _FAT = (78.0, 97.0, 93.0), (76.0, 95.0, 91.0)
_SKULL, _FLUID = (70.0, 89.0, 85.0), (63.5, 82.5, 78.5)
_BRAIN = (59.0, 77.0, 73.0)
_WHITE_SHARE = 0.84


def build_head(rng: np.random.Generator, lesion: str, side: Side | None = None) -> Anatomy:
    """A head of its own size, pose and ventricles. `lesion` is a key of HEAD_LESIONS or "none"."""
    tissues = tissues_of_subject(rng)
    scale = rng.uniform(0.93, 1.03, 3)
    cortex, white = _brain(rng, scale)
    lateral, third = _ventricles(rng.uniform(0.75, 1.3))
    nuclei = _mirrored((18.0, 3.0, -14.0), (8.0, 13.0, 9.0), -12.0)
    parts: list[tuple[str, str, tuple[Solid, ...], str]] = [
        ("skin", "skin", (_ellipsoid(_SKIN, scale),), ""),
        ("fat", "fat", (_ellipsoid(_FAT, scale),), "skin"),
        ("skull", "cortical bone", (_ellipsoid(_SKULL, scale),), "fat"),
        ("cerebrospinal fluid", "cerebrospinal fluid", (_ellipsoid(_FLUID, scale),), "skull"),
        ("cortical grey matter", "grey matter", (cortex,), "cerebrospinal fluid"),
        ("white matter", "white matter", (white,), "cortical grey matter"),
        ("deep grey matter", "grey matter", nuclei, "white matter"),
        ("lateral ventricles", "cerebrospinal fluid", lateral, "white matter"),
        ("third ventricle", "cerebrospinal fluid", (third,), "white matter"),
    ]
    structures = [
        Structure(name, tissues[tissue], solids, inside) for name, tissue, solids, inside in parts
    ]
    to_lps = _pose(rng)
    found = None
    if lesion != NO_LESION:
        where: Side = side or ("left" if rng.random() < 0.5 else "right")
        radius = rng.uniform(7.0, 12.0)
        axes = tuple(float(radius * factor) for factor in rng.uniform(0.8, 1.25, 3))
        solid = placed_lesion(
            white, (*nuclei, *lateral, third), (axes[0], axes[1], axes[2]), where, rng
        )
        tissue = tissue_of_lesion(lesion, HEAD_LESIONS[lesion], rng)
        structures.append(Structure("lesion", tissue, (solid,), "white matter"))
        found = lesion_at(lesion, where, solid, to_lps)
    return Anatomy("head", tuple(structures), to_lps, FIELD_OF_VIEW_MM, RADIOGRAPH_MM, found)


def lesion_at(kind: str, side: Side, solid: Superellipsoid, to_lps: Matrix) -> Lesion:
    """The facts about a lesion whose solid is in local mm."""
    x, y, z = (float(v) for v in (to_lps @ (*solid.centre_mm, 1.0))[:3])
    return Lesion(kind, side, (x, y, z), solid.half_axes_mm, solid.volume_ml)


def _brain(rng: np.random.Generator, scale: np.ndarray) -> tuple[FoldedEllipsoid, FoldedEllipsoid]:
    """Cortex and white matter have the same folds, so the ribbon is of even thickness."""
    folds, bands = int(rng.integers(11, 16)), int(rng.integers(4, 7))
    depth = float(rng.uniform(0.04, 0.06))
    a, b, c = (float(axis * one) for axis, one in zip(_BRAIN, scale, strict=True))
    axes = (_WHITE_SHARE * a, _WHITE_SHARE * b, _WHITE_SHARE * c)
    origin = (0.0, 0.0, 0.0)
    return (
        FoldedEllipsoid(origin, (a, b, c), folds, bands, depth),
        FoldedEllipsoid(origin, axes, folds, bands, depth),
    )


def _ventricles(size: float) -> tuple[tuple[Solid, ...], Solid]:
    # Larger ones move up and apart, so that they meet neither each other nor the nuclei.
    lateral = _mirrored(
        (4.5 + 7.0 * size, 0.0, 11.0 * size - 2.0),
        (7.0 * size, 27.0 * size, 11.0 * size),
        -9.0,
    )
    return lateral, Superellipsoid((0.0, 2.0, -14.0), (2.5 * size, 13.0, 8.0))


def _mirrored(centre: Triple, axes: Triple, turn_degrees: float) -> tuple[Solid, ...]:
    x, y, z = centre
    left = Superellipsoid(centre, axes, turn_degrees=turn_degrees)
    return left, Superellipsoid((-x, y, z), axes, turn_degrees=-turn_degrees)


def _ellipsoid(axes: Triple, scale: np.ndarray) -> Superellipsoid:
    a, b, c = (float(axis * one) for axis, one in zip(axes, scale, strict=True))
    return Superellipsoid((0.0, 0.0, 0.0), (a, b, c))


def _pose(rng: np.random.Generator) -> Matrix:
    """A head lies a few degrees and millimetres off the middle."""
    x, y, z = (float(angle) for angle in rng.uniform(-5.0, 5.0, 3))
    to_lps = np.eye(4)
    to_lps[:3, :3] = rotation((x, y, z))
    to_lps[:3, 3] = rng.uniform(-5.0, 5.0, 3)
    return to_lps

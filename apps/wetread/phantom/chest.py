"""A chest: trunk, lungs, heart, vessels, airway, skeleton and the organs below the diaphragm."""

from __future__ import annotations

import numpy as np

from wetread.phantom.anatomy import Anatomy, Side, Structure, placed_lesion
from wetread.phantom.head import lesion_at
from wetread.phantom.solids import Band, Capsule, Solid, Superellipsoid, Triple
from wetread.phantom.tissues import (
    CHEST_LESIONS,
    NO_LESION,
    tissue_of_lesion,
    tissues_of_subject,
)

FIELD_OF_VIEW_MM = (424.0, 390.0, 390.0)
RADIOGRAPH_MM = (350.0, 350.0)
_BOTH_LUNGS = ("left lung", "right lung")
_RIB_LEVELS_MM = tuple(100.0 - 24.0 * number for number in range(9))
_VERTEBRA_LEVELS_MM = tuple(-162.0 + 25.0 * number for number in range(13))
# Smallest and largest half axis of a lesion, mm.
_SIZES_MM = {"nodule": (6.0, 14.0), "consolidation": (22.0, 34.0)}


def build_chest(rng: np.random.Generator, lesion: str, side: Side | None = None) -> Anatomy:
    """A chest of its own lungs and heart. `lesion` is a key of CHEST_LESIONS or "none"."""
    tissues = tissues_of_subject(rng)
    lungs = _lungs(rng)
    organs = _organs(rng)
    parts: list[tuple[str, str, tuple[Solid, ...], str, tuple[str, ...]]] = [
        ("skin and fat", "fat", (_trunk(180.0, 124.0, 200.0),), "", ()),
        ("muscle", "muscle", (_trunk(168.0, 112.0, 190.0),), "skin and fat", ()),
        ("left lung", "lung", (lungs["left"],), "muscle", ()),
        ("right lung", "lung", (lungs["right"],), "muscle", ()),
        ("heart", "myocardium and blood", organs["heart"], "muscle", _BOTH_LUNGS),
        ("great vessels", "blood", organs["vessels"], "muscle", ("left lung",)),
        ("liver", "liver", organs["liver"], "muscle", ("right lung",)),
        ("stomach", "stomach", organs["stomach"], "muscle", ("left lung",)),
        ("trachea", "air", (Capsule((0, 30, 165), (0, 30, 48), 8.0),), "muscle", ()),
        ("spine", "spongy bone", _spine(), "muscle", ()),
        ("ribs", "rib", _ribs(), "muscle", ()),
        ("sternum", "spongy bone", (_sternum(),), "muscle", ()),
        ("clavicles", "rib", _clavicles(), "muscle", ()),
    ]
    structures = [
        Structure(name, tissues[tissue], solids, inside, over)
        for name, tissue, solids, inside, over in parts
    ]
    to_lps = np.eye(4)
    to_lps[:3, 3] = rng.uniform(-6.0, 6.0, 3)
    found = None
    if lesion != NO_LESION:
        where: Side = side or ("left" if rng.random() < 0.5 else "right")
        obstacles = tuple(solid for solids in organs.values() for solid in solids)
        solid = placed_lesion(lungs[where], obstacles, _lesion_axes(lesion, rng), where, rng)
        tissue = tissue_of_lesion(lesion, CHEST_LESIONS[lesion], rng)
        structures.append(Structure("lesion", tissue, (solid,), f"{where} lung"))
        found = lesion_at(lesion, where, solid, to_lps)
    return Anatomy("chest", tuple(structures), to_lps, FIELD_OF_VIEW_MM, RADIOGRAPH_MM, found)


def _lesion_axes(lesion: str, rng: np.random.Generator) -> Triple:
    radius = rng.uniform(*_SIZES_MM[lesion])
    a, b, c = (float(radius * factor) for factor in rng.uniform(0.8, 1.25, 3))
    return a, b, c


def _trunk(a: float, b: float, c: float) -> Superellipsoid:
    return Superellipsoid((0.0, 0.0, 0.0), (a, b, c), exponent=4.0)


def _lungs(rng: np.random.Generator) -> dict[Side, Superellipsoid]:
    depth, height = float(rng.uniform(0.92, 1.0)), float(rng.uniform(0.92, 1.0))
    left = Superellipsoid((72.0, 2.0, 14.0), (54.0, 62.0 * depth, 116.0 * height), exponent=2.5)
    right = Superellipsoid((-70.0, 2.0, 12.0), (56.0, 64.0 * depth, 118.0 * height), exponent=2.5)
    return {"left": left, "right": right}


def _organs(rng: np.random.Generator) -> dict[str, tuple[Solid, ...]]:
    """What may cover a part of a lung."""
    size = float(rng.uniform(0.84, 1.0))
    heart = Superellipsoid((22.0, -22.0, -28.0), (58.0 * size, 46.0 * size, 52.0 * size))
    arch = Capsule((12.0, -6.0, 46.0), (16.0, -2.0, 96.0), 17.0)
    descending = Capsule((30.0, 47.0, -150.0), (30.0, 47.0, 60.0), 11.0)
    return {
        "heart": (heart,),
        "vessels": (arch, descending),
        "liver": (Superellipsoid((-60.0, -5.0, -115.0), (70.0, 64.0, 62.0)),),
        "stomach": (Superellipsoid((78.0, -8.0, -128.0), (54.0, 58.0, 58.0)),),
    }


def _spine() -> tuple[Solid, ...]:
    return tuple(
        Superellipsoid((0.0, 62.0, level), (16.0, 13.0, 10.5), exponent=4.0)
        for level in _VERTEBRA_LEVELS_MM
    )


def _ribs() -> tuple[Solid, ...]:
    return tuple(
        Band((0.0, 0.0, level), (150.0, 96.0), 0.935, 11.0, 0.35, 28.0, 11.0)
        for level in _RIB_LEVELS_MM
    )


def _sternum() -> Solid:
    return Superellipsoid((0.0, -92.0, 10.0), (17.0, 5.0, 62.0), exponent=4.0)


def _clavicles() -> tuple[Solid, ...]:
    return tuple(
        Capsule((side * 20.0, -84.0, 118.0), (side * 112.0, -52.0, 136.0), 6.0)
        for side in (1.0, -1.0)
    )

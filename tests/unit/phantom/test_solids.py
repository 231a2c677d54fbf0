"""The volume in closed form is that of the region."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wetread.phantom.solids import (
    Band,
    Capsule,
    FoldedEllipsoid,
    Solid,
    Superellipsoid,
    overlap_ml,
)

SOLIDS: dict[str, Solid] = {
    "ellipsoid": Superellipsoid((3, -5, 8), (20, 12, 16)),
    "turned ellipsoid": Superellipsoid((3, -5, 8), (24, 10, 12), turn_degrees=35),
    "near a box": Superellipsoid((0, 0, 0), (20, 12, 16), exponent=4.0),
    "pointed": Superellipsoid((0, 0, 0), (30, 30, 30), exponent=1.5),
    "folded": FoldedEllipsoid((1, 2, 3), (40, 50, 45), 12, 5, 0.15),
    "whole hoop": Band((0, 0, 0), (60, 40), 0.8, 11, slope=-0.37),
    "ribs": Band((5, 0, 0), (60, 40), 0.8, 11, 0.35, 28, 11),
    "capsule": Capsule((0, 0, 0), (20, 30, 10), 8),
}


def counted_ml(solid: Solid, step: float = 0.47) -> float:
    low, high = solid.bounds_mm
    # Off the round numbers: flat faces must not fall on the grid.
    axes = [np.arange(a - 2.13, b + 2, step) for a, b in zip(low, high, strict=True)]
    return float(np.count_nonzero(solid.contains(*np.ix_(*axes)))) * step**3 / 1000


@pytest.mark.parametrize("name", SOLIDS)
def test_the_volume_is_the_formula_s(name: str) -> None:
    assert counted_ml(SOLIDS[name]) == pytest.approx(SOLIDS[name].volume_ml, rel=0.005)


def test_an_ellipsoid_has_the_volume_that_everybody_knows() -> None:
    solid = Superellipsoid((0, 0, 0), (30, 22, 26))
    assert solid.volume_ml == pytest.approx(4 / 3 * math.pi * 30 * 22 * 26 / 1000)


def test_folds_add_a_little_volume() -> None:
    """Without the second-order term they would be off by more than the tolerance above."""
    smooth, folded = (FoldedEllipsoid((0, 0, 0), (40, 40, 40), 12, 5, d) for d in (0.0, 0.15))
    assert 1.005 < folded.volume_ml / smooth.volume_ml < 1.02


@pytest.mark.parametrize("name", SOLIDS)
def test_nothing_lies_outside_the_bounds(name: str) -> None:
    solid = SOLIDS[name]
    low, high = (np.asarray(corner) for corner in solid.bounds_mm)
    axes = [np.arange(a - 9, b + 9, 1.0, dtype=np.float32) for a, b in zip(low, high, strict=True)]
    found = np.argwhere(solid.contains(*np.ix_(*axes)))
    points = np.stack([axis[index] for axis, index in zip(axes, found.T, strict=True)], axis=1)
    assert (points >= low).all()
    assert (points <= high).all()


def test_a_turn_is_anticlockwise_seen_from_above() -> None:
    """The long axis of an ellipsoid along y, turned by −30°, leans towards +x behind."""
    solid = Superellipsoid((0, 0, 0), (5, 30, 5), turn_degrees=-30)
    x, y = np.float32([14.0, -14.0]), np.float32([24.2, 24.2])
    assert solid.contains(x, y, np.zeros(2, np.float32)).tolist() == [True, False]


def test_the_gap_of_the_ribs_is_in_front_and_the_slope_rises_to_the_back() -> None:
    ribs = Band((0, 0, 0), (60, 40), 0.8, 10, slope=0.5, front_gap_degrees=30)
    y, z = np.float32([-36.0, 36.0, 36.0]), np.float32([-18.0, 18.0, -18.0])
    assert ribs.contains(np.zeros(3, np.float32), y, z).tolist() == [False, True, False]


def test_the_overlap_of_two_halves_of_a_ball() -> None:
    """Two balls of radius r at a distance r share 5πr³/12."""
    one, other = (Superellipsoid((x, 0, 0), (20, 20, 20)) for x in (0.0, 20.0))
    assert overlap_ml(one, other) == pytest.approx(5 * math.pi * 8 / 12, rel=0.005)
    assert overlap_ml(one, Superellipsoid((50, 0, 0), (20, 20, 20))) == 0.0

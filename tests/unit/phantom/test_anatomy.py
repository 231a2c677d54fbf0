"""Every structure has the volume that is told, stands where it is told, and is painted in order."""

from __future__ import annotations

import numpy as np
import pytest

from wetread.errors import ConfigError
from wetread.phantom.anatomy import Anatomy, Side, placed_lesion
from wetread.phantom.chest import build_chest
from wetread.phantom.grid import centred_grid
from wetread.phantom.head import build_head
from wetread.phantom.recipe import LESION_CLASSES
from wetread.phantom.solids import Superellipsoid, overlap_ml

BUILD = {"head": build_head, "chest": build_chest}
EVERY = [(kind, lesion) for kind, all_of in LESION_CLASSES.items() for lesion in all_of]
HEAD_GRID, CHEST_GRID = (148, 160, 160), (212, 195, 195)


def built(kind: str, lesion: str, seed: int, side: Side | None = None) -> Anatomy:
    return BUILD[kind](np.random.default_rng(seed), lesion, side)


def counted_ml(anatomy: Anatomy, shape: tuple[int, int, int]) -> dict[str, float]:
    grid = centred_grid(shape, anatomy.field_of_view_mm)
    counts = np.bincount(anatomy.labels_on(grid).ravel(), minlength=len(anatomy.names) + 1)
    return dict(zip(anatomy.names, counts[1:] * grid.voxel_ml, strict=True))


def tolerance(volume_ml: float) -> float:
    """1 % where there are many voxels of 1.5 to 2 mm; a structure of 1 mL has a few hundred."""
    return 0.01 if volume_ml > 400 else 0.025 if volume_ml > 10 else 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("kind", "lesion", "shape"), [("head", "cyst", HEAD_GRID), ("chest", "nodule", CHEST_GRID)]
)
def test_the_voxels_fill_the_volumes(
    kind: str, lesion: str, shape: tuple[int, int, int], seed: int
) -> None:
    anatomy = built(kind, lesion, seed)
    counted = counted_ml(anatomy, shape)
    for name, volume_ml in anatomy.volumes_ml().items():
        assert counted[name] == pytest.approx(volume_ml, rel=tolerance(volume_ml)), name


@pytest.mark.parametrize(
    ("kind", "lesion"), [(kind, lesion) for kind, lesion in EVERY if lesion != "none"]
)
def test_the_voxels_of_a_lesion_are_its_volume(kind: str, lesion: str) -> None:
    """On a grid that is fine enough for 1 %."""
    anatomy = built(kind, lesion, 6)
    assert anatomy.lesion is not None
    extent = 3 * max(anatomy.lesion.half_axes_mm)
    grid = centred_grid((72, 72, 72), (extent, extent, extent), anatomy.lesion.centre_mm)
    voxels = np.count_nonzero(anatomy.labels_on(grid) == anatomy.label_value("lesion"))
    assert voxels * grid.voxel_ml == pytest.approx(anatomy.lesion.volume_ml, rel=0.01)
    assert anatomy.volumes_ml()["lesion"] == pytest.approx(anatomy.lesion.volume_ml)


@pytest.mark.parametrize(("kind", "lesion"), EVERY)
def test_volumes_add_up_to_the_whole_patient(kind: str, lesion: str) -> None:
    anatomy = built(kind, lesion, 5)
    assert sum(anatomy.volumes_ml().values()) == pytest.approx(anatomy.structures[0].gross_ml)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", BUILD)
def test_no_structure_meets_one_that_it_does_not_tell_of(kind: str, seed: int) -> None:
    """The closed form of a volume holds only then."""
    anatomy = built(kind, LESION_CLASSES[kind][-1], seed)
    inside = {one.name: one.inside for one in anatomy.structures}
    for number, one in enumerate(anatomy.structures):
        for other in anatomy.structures[:number]:
            if other.name in (*ancestors(one.name, inside), *one.over):
                continue
            shared = sum(overlap_ml(a, b, 2.0) for a in one.solids for b in other.solids)
            assert shared < 0.03, (one.name, other.name)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", BUILD)
def test_each_structure_lies_in_the_one_that_holds_it(kind: str, seed: int) -> None:
    anatomy = built(kind, LESION_CLASSES[kind][1], seed)
    by_name = {one.name: one for one in anatomy.structures}
    for one in anatomy.structures[1:]:
        outer = by_name[one.inside].solids
        shared = sum(overlap_ml(a, b, 2.0) for a in one.solids for b in outer)
        whole = sum(overlap_ml(a, a, 2.0) for a in one.solids)
        assert shared == pytest.approx(whole, abs=0.03), one.name


def ancestors(name: str, inside: dict[str, str]) -> list[str]:
    found = []
    while name := inside[name]:
        found.append(name)
    return found


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_lesion_lies_on_its_side_at_its_place(kind: str, side: Side) -> None:
    """+x is the patient's left (LPS)."""
    anatomy = built(kind, LESION_CLASSES[kind][1], 4, side)
    assert anatomy.lesion is not None
    grid = centred_grid((148, 160, 160), anatomy.field_of_view_mm)
    index = np.argwhere(anatomy.labels_on(grid) == anatomy.label_value("lesion"))
    middle = grid.affine[:3, :3] @ index.mean(axis=0) + grid.affine[:3, 3]
    assert middle == pytest.approx(anatomy.lesion.centre_mm, abs=0.5)
    assert (middle[0] > 0) == (side == "left")


def test_the_heart_is_left_and_in_front_and_the_liver_right() -> None:
    anatomy = built("chest", "none", 1)
    grid = centred_grid((106, 98, 98), anatomy.field_of_view_mm)
    labels = anatomy.labels_on(grid)

    def middle(name: str) -> np.ndarray:
        index = np.argwhere(labels == anatomy.label_value(name)).mean(axis=0)
        return np.asarray(grid.affine[:3, :3] @ index + grid.affine[:3, 3])

    heart, spine, liver = (middle(name) for name in ("heart", "spine", "liver"))
    assert heart[0] > spine[0] + 10 > liver[0] + 30
    assert heart[1] < spine[1] - 50
    assert heart[2] > liver[2] + 50


@pytest.mark.parametrize("seed", range(3))
def test_no_two_patients_are_alike(seed: int) -> None:
    one, other = built("head", "cyst", seed), built("head", "cyst", seed + 100)
    assert one.volumes_ml() != other.volumes_ml()
    assert one.volumes_ml() == built("head", "cyst", seed).volumes_ml()


def test_a_lesion_without_room_is_an_error() -> None:
    host = Superellipsoid((0, 0, 0), (30, 30, 30))
    with pytest.raises(ConfigError, match="no room for a lesion of 5 mm on the left"):
        placed_lesion(host, (host,), (5, 5, 5), "left", np.random.default_rng(0))

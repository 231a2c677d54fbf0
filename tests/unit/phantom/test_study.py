"""The images of a study: true values in each structure, one grid, one anatomy, a clear picture."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from wetread.errors import ConfigError
from wetread.phantom.contrast import Modality, value_of
from wetread.phantom.effects import Effects
from wetread.phantom.grid import Grid, centred_grid, rotation
from wetread.phantom.recipe import LESION_CLASSES, Recipe, recipe_from
from wetread.phantom.study import SyntheticStudy, make_study, mean_values

from .conftest import CLEAN

FUSION = (Modality.T1, Modality.T2, Modality.FLAIR, Modality.CT)


def inside(study: SyntheticStudy, name: str, modality: Modality) -> np.ndarray:
    return study.images[modality][study.labels == study.anatomy.label_value(name)]


@pytest.mark.parametrize("modality", [Modality.CT, *FUSION])
def test_each_structure_has_the_value_of_its_tissue(
    head: SyntheticStudy, modality: Modality
) -> None:
    for structure in head.anatomy.structures:
        found = inside(head, structure.name, modality)
        expected = (
            abs(value_of(structure.tissue, modality)) if modality.is_mr else structure.tissue.hu
        )
        assert found == pytest.approx(expected, abs=0.01), structure.name


def test_noise_leaves_the_mean_hu_of_a_structure(chest: SyntheticStudy) -> None:
    """Partial volume reaches one voxel deep; deeper than that the mean is the tissue's."""
    for name in ("liver", "left lung", "heart"):
        mask = chest.labels == chest.anatomy.label_value(name)
        deep = ndimage.binary_erosion(mask, np.ones((3, 3, 3)))
        hu = float(chest.images[Modality.CT][deep].mean())
        tissue = chest.anatomy.tissues[chest.anatomy.label_value(name)]
        assert hu == pytest.approx(tissue.hu, abs=1.0), name


def test_partial_volume_is_the_mean_of_the_parts() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0] = 1
    found = mean_values(labels, np.array([0.0, 80.0], np.float32), 2)
    assert found.tolist() == [[[10.0]]]


def test_one_more_modality_changes_no_other() -> None:
    few = Recipe("head", (Modality.T2,), seed=3, matrix=32, slices=12)
    one = make_study(few, 1)
    both = make_study(replace(few, modalities=(Modality.CT, Modality.T2)), 1)
    assert np.array_equal(one.images[Modality.T2], both.images[Modality.T2])


def test_thick_slices_cover_the_same_extent() -> None:
    thin = Recipe("head", (Modality.T2,), matrix=32, slices=40, effects=CLEAN)
    thick = replace(thin, effects=replace(CLEAN, thick_slices=2))
    one, other = (make_study(recipe, 0).grid for recipe in (thin, thick))
    assert (one.shape[0], other.shape[0]) == (40, 20)
    assert other.spacing_mm[0] == pytest.approx(2 * one.spacing_mm[0])


def test_an_oblique_grid_is_turned_and_nothing_else(head: SyntheticStudy) -> None:
    directions = head.grid.affine[:3, :3] / head.grid.spacing_mm
    assert directions.T @ directions == pytest.approx(np.eye(3), abs=1e-12)
    angle = np.degrees(np.arccos(directions[2, 0]))
    assert 3.0 < angle < 18.0


def test_a_rotation_turns_x_to_y_about_z() -> None:
    assert rotation((0, 0, 90)) @ (1, 0, 0) == pytest.approx([0, 1, 0])


def test_a_refined_grid_covers_the_same_space() -> None:
    grid = centred_grid((4, 6, 8), (40, 30, 20), turn=rotation((10, 20, 30)))
    fine = grid.refined((2, 3, 2))
    first = grid.affine @ (0, 0, 0, 1)
    parts = [fine.affine @ (i, j, k, 1) for i in range(2) for j in range(3) for k in range(2)]
    assert np.mean(parts, axis=0) == pytest.approx(first)
    assert fine.voxel_ml == pytest.approx(grid.voxel_ml / 12)


def ray(study: SyntheticStudy, x: float, z: float) -> tuple[int, int]:
    """Row and column of the radiograph at these mm of the anatomy: columns to the left."""
    assert study.projection is not None
    rows, columns = study.projection.integral.shape
    right, _, up = study.anatomy.to_lps[:3, 3]
    pixel_mm = study.projection.pixel_mm
    return (
        round((rows - 1) / 2 - (up + z) / pixel_mm),
        round((columns - 1) / 2 + (right + x) / pixel_mm),
    )


def test_bone_is_dense_on_a_radiograph_and_lung_is_not(chest: SyntheticStudy) -> None:
    assert chest.projection is not None
    shown, integral = chest.projection.presented(), chest.projection.integral
    # At the level of a vertebra above the heart.
    spine, left, right = (ray(chest, x, 63.0) for x in (0.0, 78.0, -72.0))
    assert shown[spine] > max(shown[left], shown[right]) + 0.3
    assert integral[spine] > max(integral[left], integral[right]) + 1.5
    assert (shown.min(), shown.max()) == (0.0, 1.0)


def test_a_vertebra_is_denser_than_the_disc_below_it() -> None:
    recipe = Recipe("chest", (Modality.DX,), seed=2, effects=CLEAN, matrix=128, lesion="none")
    study = make_study(recipe, 0)
    assert study.projection is not None
    vertebra, disc = (study.projection.integral[ray(study, 0, z)] for z in (63.0, 50.5))
    assert vertebra > disc + 0.05


def test_the_heart_is_on_the_right_of_the_picture(chest: SyntheticStudy) -> None:
    """It is seen from the front: columns run to the patient's left."""
    assert chest.projection is not None
    left, right = (chest.projection.integral[ray(chest, x, -28.0)] for x in (58.0, -58.0))
    assert left > right + 0.5


def test_a_line_integral_is_attenuation_times_millimetres() -> None:
    """Beer and Lambert: through the right lung, tissue by tissue."""
    recipe = Recipe("chest", (Modality.DX,), seed=2, effects=CLEAN, matrix=128, lesion="none")
    study = make_study(recipe, 0)
    assert study.projection is not None
    start = study.anatomy.to_lps[:3, 3] + (-70.0, -125.0, 12.0)
    affine = np.array([[0, 0, 1.0, 0], [0, 0.1, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    affine[:3, 3] = start
    along = study.anatomy.labels_on(Grid((1, 2500, 1), affine))[0, :, 0]
    per_mm = np.array([value_of(tissue, Modality.DX) for tissue in study.anatomy.tissues])
    found = float(study.projection.integral[ray(study, -70.0, 12.0)])
    assert found == pytest.approx(float(per_mm[along].sum() * 0.1), rel=0.02)


def test_a_study_of_four_modalities_takes_a_fraction_of_a_second() -> None:
    """0.3 s measured on one core; ten times that is a fault."""
    recipe = Recipe("head", FUSION, seed=1, matrix=64, slices=40)
    make_study(recipe, 0)
    started = time.process_time()
    make_study(recipe, 1)
    assert time.process_time() - started < 2.0


def test_classes_are_taken_in_turn() -> None:
    recipe = Recipe("head", (Modality.CT,), matrix=16, slices=4)
    found = [make_study(recipe, number).label for number in range(5)]
    assert found == list(LESION_CLASSES["head"])


def named(**changed: object) -> Recipe:
    words: dict[str, object] = {
        "anatomy": "head",
        "modalities": (),
        "effects": "",
        "side": None,
        "seed": 0,
        "lesion": None,
        "matrix": 64,
        "slices": 20,
        "is_monochrome1": False,
    }
    return recipe_from(**{**words, **changed})  # type: ignore[arg-type]


def test_the_usual_modalities_of_an_anatomy() -> None:
    assert named().modalities == FUSION
    assert named(anatomy="chest").modalities == (Modality.CT, Modality.DX)
    assert named(modalities=["ct", "flair", "CT"]).modalities == (Modality.CT, Modality.FLAIR)


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"anatomy": "knee"}, "no anatomy 'knee'"),
        ({"modalities": ["US"]}, "no modality 'US'"),
        ({"lesion": "nodule"}, "no lesion of the head 'nodule'"),
        ({"side": "middle"}, "no side 'middle'"),
        ({"matrix": 8}, "matrix 8"),
        ({"slices": 2}, "2 slices"),
    ],
)
def test_a_word_that_means_nothing_is_named(changed: dict[str, object], fact: str) -> None:
    with pytest.raises(ConfigError, match=fact) as raised:
        named(**changed)
    assert raised.value.hint


def test_default_effects_are_mild() -> None:
    assert Effects() == Effects(noise=1, bias=1, partial_volume=1)

"""The picture of a heat map: what is under it stays to be seen, and it stands where it belongs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from phantom import received, write_series
from wetread.dicom.drawing import Captions, letters_of_affine
from wetread.dicom.heat_map import (
    GAP,
    HEADER_HEIGHT,
    LARGE_TILE,
    MIDDLE_TILE,
    SMALL_TILE,
    Backdrop,
    HeatMapWords,
    backdrop_of,
    backdrop_of_volume,
    blended,
    colours,
    draw_heat_map,
    slices_to_show,
)
from wetread.dicom.volume import load_volume

CAPTIONS = Captions("phantom 1.0", "NOT FOR DIAGNOSTIC USE", "wetread")
WORDS = HeatMapWords("Why Pneumonia, 87 %")
NO_LETTERS = ("", "", "", "")


def flat(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float] = (1, 1, 1)
) -> Backdrop:
    """Middle grey, of no patient."""
    array = np.full(shape, 100.0, np.float32)
    return Backdrop(array, spacing_mm, (0.0, 200.0), NO_LETTERS, ("",) * shape[0])


def is_coloured(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.ptp(pixels.astype(int), axis=-1) > 25


def tile_at(picture: NDArray[np.uint8], column: int, row: int, side: int) -> NDArray[np.uint8]:
    top, left = HEADER_HEIGHT + row * (side + GAP), GAP + column * (side + GAP)
    return picture[top : top + side, left : left + side]


def test_one_slice_stands_without_and_with_its_map() -> None:
    values = np.zeros((64, 64), np.float32)
    values[8:24, 32:48] = 1.0
    picture = draw_heat_map({0: values}, flat((1, 64, 64)), CAPTIONS, WORDS)
    plain, mapped = (tile_at(picture, column, 0, LARGE_TILE) for column in (0, 1))
    assert not is_coloured(plain).any()
    found = np.argwhere(is_coloured(mapped)) * 64 / LARGE_TILE
    assert np.allclose(found.min(axis=0), (8, 32), atol=1)
    assert np.allclose(found.max(axis=0), (24, 48), atol=1)


def test_what_speaks_for_is_warm_and_what_speaks_against_is_cold() -> None:
    values = np.zeros((64, 64), np.float32)
    values[:16], values[48:] = 1.0, -1.0
    picture = draw_heat_map({0: values}, flat((1, 64, 64)), CAPTIONS, WORDS)
    mapped = tile_at(picture, 1, 0, LARGE_TILE).astype(int)
    assert (mapped[:100, :, 0] - mapped[:100, :, 2]).min() > 40
    assert (mapped[-100:, :, 2] - mapped[-100:, :, 0]).min() > 40


def test_a_few_slices_stand_in_pairs_and_many_alone() -> None:
    values = np.ones((40, 40), np.float32)
    few = draw_heat_map(dict.fromkeys(range(3), values), flat((3, 40, 40)), CAPTIONS, WORDS)
    assert not is_coloured(tile_at(few, 2, 0, MIDDLE_TILE)).any()
    assert is_coloured(tile_at(few, 2, 1, MIDDLE_TILE)).all()
    many = draw_heat_map(dict.fromkeys(range(12), values), flat((12, 40, 40)), CAPTIONS, WORDS)
    assert is_coloured(tile_at(many, 3, 2, SMALL_TILE)).all()


def test_millimetres_are_square() -> None:
    """Rows 2 mm and columns 1 mm apart: 32 rows of 64 columns are a square."""
    values = np.zeros((32, 64), np.float32)
    values[8:16, 16:32] = 1.0
    picture = draw_heat_map({0: values}, flat((1, 32, 64), (5, 2, 1)), CAPTIONS, WORDS)
    found = np.argwhere(is_coloured(tile_at(picture, 1, 0, LARGE_TILE)))
    height, width = np.ptp(found, axis=0)
    assert height == pytest.approx(width, rel=0.05)


def test_a_mask_is_outlined_where_it_is() -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:32, 16:32] = True
    values = np.zeros((64, 64), np.float32)
    picture = draw_heat_map({0: values}, flat((1, 64, 64)), CAPTIONS, WORDS, {0: mask})
    found = np.argwhere(is_coloured(tile_at(picture, 1, 0, LARGE_TILE))) * 64 / LARGE_TILE
    assert np.allclose(found.min(axis=0), 16, atol=1)
    assert np.allclose(found.max(axis=0), 32, atol=1)


def test_nothing_covers_the_image_where_the_map_is_zero() -> None:
    grey = np.full((4, 4, 3), 77, np.uint8)
    assert np.array_equal(blended(grey, np.zeros((4, 4), np.float32)), grey)


def test_more_is_always_brighter() -> None:
    for sign in (1, -1):
        brightness = colours(sign * np.linspace(0, 1, 20, dtype=np.float32)).sum(axis=-1)
        assert (np.diff(brightness) > 0).all()


def test_a_map_without_anything_in_it_can_be_drawn() -> None:
    values = np.zeros((20, 20), np.float32)
    picture = draw_heat_map({0: values}, flat((1, 20, 20)), CAPTIONS, WORDS)
    assert not is_coloured(tile_at(picture, 1, 0, LARGE_TILE)).any()


def test_words_longer_than_the_pictures_fit() -> None:
    long = replace(WORDS, statement="Why this, and not that? " * 20)
    values = np.zeros((20, 20), np.float32)
    picture = draw_heat_map({0: values}, flat((1, 20, 20)), CAPTIONS, long)
    assert picture.shape[1] > 1500
    assert not picture[:, -4:].any()


def test_the_slices_shown_are_those_where_the_map_says_much() -> None:
    values = np.zeros((40, 8, 8), np.float32)
    values[10:14] = 1.0
    values[30] = 0.1
    assert slices_to_show(values) == (10, 11, 12, 13)
    assert len(slices_to_show(np.ones((40, 8, 8), np.float32))) == 12
    assert len(slices_to_show(np.zeros((40, 8, 8), np.float32))) == 12


def test_a_series_has_its_letters_and_names(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(4, 20, 18))
    backdrop = backdrop_of(load_volume(received(series)))
    assert backdrop.letters == ("R", "L", "A", "P")
    assert backdrop.names[0] == "H 50 mm\nimage 1"
    assert backdrop.spacing_mm == pytest.approx((5.0, 4.0, 3.5))


def test_a_picture_has_no_letters_for_it_does_not_say_where_the_patient_lies() -> None:
    affine = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    volume = highdicom.Volume(np.random.rand(1, 8, 8).astype(np.float32), affine, "PATIENT")
    assert backdrop_of_volume(volume, is_picture=True).letters == NO_LETTERS
    assert backdrop_of_volume(volume).letters == letters_of_affine(affine) == ("R", "L", "A", "P")

"""Radiographs: one slice, as it is shown, with pixels of the right size and no place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radiograph import BLOCK, BRIGHT, DARK, SHAPE, write_radiograph
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.errors import UnsupportedSeriesError


def load(folder: Path) -> SourceVolume:
    [series] = read_study(find_instances(folder)).series
    return load_volume(series)


def one(folder: Path, modality: str = "DX", **changes: Any) -> SourceVolume:
    write_radiograph(folder / "1.dcm", modality, **changes)
    return load(folder)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_a_radiograph_is_one_slice(tmp_path: Path, modality: str) -> None:
    source = one(tmp_path, modality)
    assert source.shape == (1, *SHAPE)
    assert source.is_projection
    assert source.volume.frame_of_reference_uid is None
    assert source.array[0][BLOCK].min() == BRIGHT
    assert source.array[0, 0, 0] == DARK


def test_monochrome1_is_turned_round(tmp_path: Path) -> None:
    """What is shown bright is bright: the block, not what is around it."""
    source = one(tmp_path, PhotometricInterpretation="MONOCHROME1")
    block, around = source.array[0][BLOCK].mean(), source.array[0, 0, 0]
    assert block - around == BRIGHT - DARK


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 0.2),
        ({"PixelSpacing": ["0.15", "0.15"]}, 0.15),
        ({"ImagerPixelSpacing": None}, 1.0),
    ],
)
def test_pixels_have_the_size_in_the_patient_if_it_is_known(
    tmp_path: Path, changes: dict[str, Any], size: float
) -> None:
    source = one(tmp_path, "CR", **changes)
    assert source.spacing_mm[1:] == pytest.approx((size, size))


def test_two_views_in_one_series_are_refused(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "1.dcm")
    write_radiograph(tmp_path / "2.dcm", SOPInstanceUID="1.2.3.4.5", InstanceNumber=2)
    with pytest.raises(UnsupportedSeriesError, match="2 projections") as caught:
        load(tmp_path)
    assert "a series of its own" in caught.value.hint


def test_values_are_rescaled(tmp_path: Path) -> None:
    source = one(tmp_path, RescaleSlope="2", RescaleIntercept="-100")
    assert np.unique(source.array).tolist() == [2 * DARK - 100, 2 * BRIGHT - 100]

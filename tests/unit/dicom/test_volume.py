from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from phantom import PhantomSeries, received, write_series
from wetread.dicom.volume import load_volume
from wetread.errors import (
    GeometryError,
    InputError,
    MissingAttributeError,
    StorageError,
    UnreadablePixelsError,
    UnsupportedSeriesError,
)

GRIDS: dict[str, dict[str, Any]] = {
    "axial": {},
    "sagittal": {"orientation": "sagittal"},
    "coronal": {"orientation": "coronal"},
    "feet-first": {"orientation": "feet-first"},
    "negated column": {"orientation": "negated column"},
    "reversed order": {"reversed_order": True},
    "shuffled order": {"shuffled": True},
    "oblique": {"orientation": "sagittal", "oblique_degrees": 23.0, "shuffled": True},
    "slope a slice": {"rescale_slopes": (1.0, 0.5, 2.0)},
    "MR": {"modality": "MR"},
    "odd size": {"shape": (7, 21, 17), "slice_spacing_mm": 9.5},
}


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_values_stand_at_their_millimetres(
    tmp_path: Path, grid: dict[str, Any], enhanced: bool
) -> None:
    """The array holds the phantom's HU, and the affine the LPS mm where they are."""
    series = write_series(tmp_path, enhanced=enhanced, **grid)
    source = load_volume(received(series))
    np.testing.assert_allclose(source.affine, series.affine, atol=1e-6)
    np.testing.assert_array_equal(source.array, series.values())
    assert source.array.dtype == np.float32


def test_the_measured_volume_is_the_arithmetic_one(tmp_path: Path) -> None:
    """An ellipsoid of half axes 30, 22 and 26 mm holds 71.9 mL."""
    series = write_series(tmp_path, shape=(48, 96, 80), oblique_degrees=10)
    source = load_volume(received(series))
    measured = np.count_nonzero(source.array == 120.0) * source.voxel_ml
    assert series.expected_ml == pytest.approx(71.88, abs=0.01)
    assert measured == pytest.approx(series.expected_ml, rel=0.01)


def test_spacing_is_between_slices_rows_and_columns(tmp_path: Path) -> None:
    series = write_series(tmp_path, slice_spacing_mm=6.0, row_spacing_mm=4.0, column_spacing_mm=3.0)
    assert load_volume(received(series)).spacing_mm == pytest.approx((6.0, 4.0, 3.0))


@pytest.fixture(scope="module")
def shared_series(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    return write_series(
        tmp_path_factory.mktemp("series"), shape=(6, 12, 10), rescale_slopes=(1.0, 2.0)
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000))
def test_shuffling_never_changes_the_volume(shared_series: PhantomSeries, seed: int) -> None:
    series = received(shared_series)
    order = list(series.instances)
    random.Random(seed).shuffle(order)  # noqa: S311
    source = load_volume(replace(series, instances=tuple(order)))
    np.testing.assert_array_equal(source.array, shared_series.values())
    uids = [header.SOPInstanceUID for header in source.instances]
    assert uids == [one.sop_instance_uid for one in series.instances]


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_compressed_pixels_are_the_same_pixels(tmp_path: Path, syntax: str, enhanced: bool) -> None:
    series = write_series(
        tmp_path, shape=(5, 40, 40), transfer_syntax_uid=syntax, enhanced=enhanced, shuffled=True
    )
    np.testing.assert_array_equal(load_volume(received(series)).array, series.values())


def test_headers_keep_no_pixels(tmp_path: Path) -> None:
    """A loaded study costs its float array, not a second copy of the files."""
    source = load_volume(received(write_series(tmp_path)))
    assert len(source.instances) == 24
    assert all("PixelData" not in header for header in source.instances)
    assert all(header._pixel_array is None for header in source.instances)


def test_frames_are_named_by_number(tmp_path: Path) -> None:
    """Slice i of an enhanced image is frame `frame_numbers[i]`."""
    series = write_series(tmp_path, enhanced=True, reversed_order=True, shape=(4, 20, 20))
    source = load_volume(received(series))
    assert source.frame_numbers == (4, 3, 2, 1)
    assert source.instance_of(0)[1] == 4
    assert len(source.instances) == 1


@pytest.mark.parametrize(("modality", "expected"), [("CT", -1000.0), ("MR", 24.0)])
def test_padding_is_air(tmp_path: Path, modality: Any, expected: float) -> None:
    """Padded pixels are no tissue: -1000 HU in CT, the lowest value of the slice in MR."""
    series = write_series(tmp_path, modality=modality, pixel_padding=63000)
    source = load_volume(received(series))
    assert np.all(source.array[:, :3, :3] == expected)


def test_monochrome1_says_how_values_are_shown(tmp_path: Path) -> None:
    """HU stay HU."""
    series = write_series(tmp_path, monochrome1=True)
    np.testing.assert_array_equal(load_volume(received(series)).array, series.values())


FAULTS = {
    "gap": (GeometryError, r"gap of 10\.0 mm between instances 12 and 13, others are 5\.0 mm"),
    "duplicate position": (GeometryError, r"instances 13 and 25 are at the same position"),
    "tilt": (GeometryError, r"tilted by 15\.0°, .* shifted by 1\.34 mm in the plane"),
    "mixed orientation": (GeometryError, r"mixed orientations, .* in instances 1 and 13"),
    "missing position": (
        MissingAttributeError,
        r"instance 13 has no Image Position \(Patient\) \(0020,0032\)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_series_is_refused_with_numbers(tmp_path: Path, fault: Any) -> None:
    kind, message = FAULTS[fault]
    series = write_series(tmp_path, fault=fault)
    with pytest.raises(kind, match=message) as caught:
        load_volume(received(series))
    assert isinstance(caught.value, InputError)
    assert series.series_instance_uid in str(caught.value)
    assert caught.value.series_instance_uid == series.series_instance_uid
    assert caught.value.stage == "load"
    assert caught.value.hint


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_enhanced_image_is_refused(tmp_path: Path, fault: Any) -> None:
    series = write_series(tmp_path, fault=fault, enhanced=True)
    with pytest.raises(FAULTS[fault][0]):
        load_volume(received(series))


def test_frames_are_called_frames(tmp_path: Path) -> None:
    series = write_series(tmp_path, fault="gap", enhanced=True)
    with pytest.raises(GeometryError, match=r"gap of 10\.0 mm between frames 12 and 13"):
        load_volume(received(series))


def test_slices_side_by_side_are_not_called_repeated(tmp_path: Path) -> None:
    series = write_series(tmp_path)
    change(series, 12, ImagePositionPatient=shifted_in_plane(series, 11, 40.0))
    with pytest.raises(
        GeometryError, match=r"instances 12 and 13 lie in one plane, 40\.0 mm apart"
    ):
        load_volume(received(series))


def test_a_tilt_is_said_in_degrees_where_distances_differ_too(tmp_path: Path) -> None:
    """The shift of each step belongs to its own distance."""
    series = write_series(tmp_path, fault="tilt")
    series.paths[5].unlink()
    kept = replace(series, paths=(*series.paths[:5], *series.paths[6:]))
    with pytest.raises(GeometryError, match=r"tilted by 15\.0°, instances 5 and 7"):
        load_volume(received(kept))


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(1, 20, 20))
    with pytest.raises(GeometryError, match="1 slice, a volume needs 2 or more"):
        load_volume(received(series))


def test_rounded_positions_are_no_gap(tmp_path: Path) -> None:
    """Half a per cent of unevenness is rounding."""
    series = write_series(tmp_path)
    change(series, 11, ImagePositionPatient=shifted(series, 11, 0.02))
    assert load_volume(received(series)).spacing_mm[0] == pytest.approx(5.0)


def test_a_small_gap_is_said_in_hundredths(tmp_path: Path) -> None:
    series = write_series(tmp_path)
    change(series, 11, ImagePositionPatient=shifted(series, 11, 0.06))
    with pytest.raises(GeometryError, match=r"gap of (5\.060|4\.940) mm between instances"):
        load_volume(received(series))


CHANGES: dict[str, tuple[dict[str, Any], type[InputError], str]] = {
    "size": ({"Rows": 24, "Columns": 80}, GeometryError, "mixed sizes, 48 × 40 and 24 × 80 pixels"),
    "spacing": (
        {"PixelSpacing": [4, 4]},
        GeometryError,
        r"mixed pixel spacing, 4 × 3\.5 and 4 × 4",
    ),
    "frame": ({"FrameOfReferenceUID": "1.2.3"}, GeometryError, "2 frames of reference"),
    "no frame": ({"FrameOfReferenceUID": None}, MissingAttributeError, "Frame of Reference UID"),
    "localizer": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        UnsupportedSeriesError,
        "instance 4 is a localizer",
    ),
    "colour": ({"SamplesPerPixel": 3}, UnsupportedSeriesError, "3 samples a pixel"),
    "class": (
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        UnsupportedSeriesError,
        "instance 4 is Secondary Capture Image Storage, not a CT, MR, CR or DX image",
    ),
    "slope": ({"RescaleSlope": None}, MissingAttributeError, "has no Rescale Slope"),
    "pixels": ({"PixelData": None}, MissingAttributeError, "has no Pixel Data"),
    "direction": (
        {"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]},
        GeometryError,
        "mixed orientations",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_one_odd_instance_is_named(tmp_path: Path, case: str) -> None:
    attributes, kind, message = CHANGES[case]
    series = write_series(tmp_path)
    facts = received(series)
    change(series, 3, **attributes)
    with pytest.raises(kind, match=message):
        load_volume(facts)


def test_directions_must_be_perpendicular_units(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 20, 20))
    for number in range(3):
        change(series, number, ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0])
    with pytest.raises(GeometryError, match="not a pair of perpendicular unit vectors"):
        load_volume(received(series))


def test_two_multi_frame_images_are_refused(tmp_path: Path) -> None:
    first = received(write_series(tmp_path / "a", enhanced=True))
    second = received(write_series(tmp_path / "b", enhanced=True, seed="another"))
    with pytest.raises(UnsupportedSeriesError, match="2 multi-frame among 2 instances"):
        load_volume(replace(first, instances=first.instances + second.instances))


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_a_series_that_is_too_large_is_refused_unread(tmp_path: Path, enhanced: bool) -> None:
    series = write_series(tmp_path, shape=(6, 9, 7), enhanced=enhanced)
    message = "6 × 9 × 7 voxels, at most 377 are read"
    with pytest.raises(UnsupportedSeriesError, match=message) as caught:
        load_volume(received(series), max_voxels=6 * 9 * 7 - 1)
    assert "max_voxels" in caught.value.hint
    assert load_volume(received(series), max_voxels=6 * 9 * 7).shape == (6, 9, 7)


def test_no_instances_is_no_series(tmp_path: Path) -> None:
    series = received(write_series(tmp_path, shape=(2, 20, 20)))
    with pytest.raises(UnsupportedSeriesError, match="no instances"):
        load_volume(replace(series, instances=()))


def test_undecodable_pixels_name_file_and_syntax(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 40, 40), transfer_syntax_uid=JPEGLSLossless)
    change(series, 1, PixelData=encapsulate([b"\0" * 80]))
    with pytest.raises(UnreadablePixelsError, match=r"0002\.dcm: cannot decode JPEG-LS Lossless"):
        load_volume(received(series))


def test_a_file_that_is_not_dicom_is_unreadable(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(3, 20, 20))
    facts = received(series)
    series.paths[0].write_bytes(b"GIF89a" * 100)
    with pytest.raises(UnreadablePixelsError, match=r"0001\.dcm: not a DICOM file"):
        load_volume(facts)


def test_a_vanished_file_is_the_spools_fault(tmp_path: Path) -> None:
    """Retryable: the data may be right, the disk is not."""
    series = write_series(tmp_path, shape=(3, 20, 20))
    facts = received(series)
    series.paths[0].unlink()
    with pytest.raises(StorageError, match=r"cannot read .*0001\.dcm: No such file"):
        load_volume(facts)


def change(series: PhantomSeries, number: int, **attributes: Any) -> None:
    """Rewrite one file with other attributes; None takes the attribute out."""
    image = dcmread(series.paths[number])
    for keyword, value in attributes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.save_as(series.paths[number])


def shifted_in_plane(series: PhantomSeries, number: int, along_row_mm: float) -> list[float]:
    row = series.affine[:3, 2] / np.linalg.norm(series.affine[:3, 2])
    position = series.affine[:3, 3] + number * series.affine[:3, 0] + along_row_mm * row
    return [float(value) for value in position.round(6)]


def shifted(series: PhantomSeries, number: int, along_normal_mm: float) -> list[float]:
    step = series.affine[:3, 0]
    normal = step / np.linalg.norm(step)
    position = series.affine[:3, 3] + number * step + along_normal_mm * normal
    return [float(value) for value in position.round(6)]

"""A mask returns to the millimetres from which it came, however the slices lie.

The whole way each time: files → volume → mask by value → SEG and SR → an independent reader. The
phantom has no symmetry, so a flip, a transposition or an LPS/RAS slip moves the mask.
"""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

import phantom
from phantom import PhantomSeries, received, write_series
from readings import (
    Reading,
    mask_on_grid,
    read_by_dcmqi,
    reading_of,
    result_context,
    result_of,
)
from report_content import content_items
from wetread.dicom import terms
from wetread.dicom.labels import count_labels
from wetread.dicom.result_header import file_bytes
from wetread.dicom.seg import build_segmentation
from wetread.dicom.volume import SourceVolume, load_volume

LESION_HU = 120.0
GRID: dict[str, Any] = {
    "shape": (16, 28, 22),
    "slice_spacing_mm": 7.5,
    "row_spacing_mm": 4.5,
    "column_spacing_mm": 5.5,
}
AXES = [tuple(int(x) for x in sign * row) for row in np.eye(3) for sign in (1, -1)]
# Every way in which rows and columns can run along the patient's axes.
PAIRS = [pair for pair in itertools.permutations(AXES, 2) if np.dot(*pair) == 0]
NAMED: dict[str, dict[str, Any]] = {
    "axial": {},
    "sagittal": {"orientation": "sagittal"},
    "coronal": {"orientation": "coronal"},
    "feet-first": {"orientation": "feet-first"},
    "negated column": {"orientation": "negated column"},
    "reversed order": {"reversed_order": True},
    "shuffled": {"shuffled": True},
    "oblique": {"oblique_degrees": 23.0},
    "oblique sagittal, shuffled": {
        "orientation": "sagittal",
        "oblique_degrees": -37.0,
        "shuffled": True,
    },
    "oblique, enhanced": {"oblique_degrees": 52.0, "enhanced": True, "shuffled": True},
    "shifted": {"centre": (-311.0, 202.0, -1450.5)},
    "very anisotropic": {
        "slice_spacing_mm": 11.0,
        "row_spacing_mm": 2.25,
        "column_spacing_mm": 6.75,
        "shape": (12, 70, 18),
    },
    "MR with odd size": {"modality": "MR", "shape": (17, 29, 23)},
}


@pytest.fixture(scope="module", params=NAMED)
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """SEG and SR of all voxels of the lesion's value."""
    folder = tmp_path_factory.mktemp("series")
    series = write_series(folder, **{**GRID, **NAMED[request.param]})
    return reading_of(series, result_of(lesion(series, load_volume(received(series)))))


@pytest.mark.parametrize("rows_and_columns", PAIRS, ids=str)
def test_all_twenty_four_ways_to_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_and_columns: Any
) -> None:
    """Supine or prone, head or feet first, any plane, rows and columns in any direction."""
    monkeypatch.setitem(phantom.DIRECTIONS, "this way", rows_and_columns)
    series = write_series(tmp_path, orientation="this way", **GRID)
    source = load_volume(received(series))
    result = result_of(lesion(series, source))
    counts = count_labels(result, source.shape)
    seg = build_segmentation(result, source, result_context(), counts)
    found = read_by_highdicom(dcmread(BytesIO(file_bytes(seg))), series)
    np.testing.assert_array_equal(found, series.mask() > 0)


def test_highdicom_finds_the_mask_where_it_was(reading: Reading) -> None:
    found = read_by_highdicom(reading.dataset("SEG"), reading.series)
    assert dice(found, reading.series.mask() > 0) == 1.0


@pytest.mark.timeout(60)
def test_dcmqi_finds_the_mask_where_it_was(reading: Reading, tmp_path: Path) -> None:
    ((array, affine),) = read_by_dcmqi(reading.dataset("SEG"), tmp_path)
    found = mask_on_grid(array > 0, affine, reading.series)
    assert dice(found, reading.series.mask() > 0) == 1.0


def test_the_volume_is_the_same_everywhere(reading: Reading) -> None:
    """The SR's mL are those of the SEG's voxels, and near those of the ellipsoid, 71.9 mL."""
    (volume,) = content_items(reading.dataset("SR"), terms.VOLUME)
    in_report = float(volume.MeasuredValueSequence[0].NumericValue)
    assert in_report == pytest.approx(millilitres(reading.dataset("SEG")), abs=0.001)
    assert in_report == pytest.approx(reading.series.expected_ml, rel=0.05)


def test_the_phantom_tells_every_orientation_from_every_other(tmp_path: Path) -> None:
    """A control: had an axis been flipped or two swapped, the mask would be elsewhere."""
    series = write_series(
        tmp_path,
        shape=(24, 24, 24),
        slice_spacing_mm=6.0,
        row_spacing_mm=6.0,
        column_spacing_mm=6.0,
    )
    mask = series.mask() > 0
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            moved = mask.transpose(axes)[tuple(slice(None, None, step) for step in flips)]
            same = axes == (0, 1, 2) and flips == (1, 1, 1)
            assert np.array_equal(moved, mask) == same


def lesion(series: PhantomSeries, source: SourceVolume) -> NDArray[np.uint8]:
    """What a threshold finds."""
    value = LESION_HU if series.modality == "CT" else LESION_HU - phantom.INTERCEPT
    return (source.array == value).astype(np.uint8)


def read_by_highdicom(seg: Dataset, series: PhantomSeries) -> NDArray[np.bool_]:
    volume = highdicom.seg.Segmentation.from_dataset(seg).get_volume(combine_segments=True)
    return mask_on_grid(volume.array > 0, volume.affine, series)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    both = np.count_nonzero(first & second)
    return 2 * both / (np.count_nonzero(first) + np.count_nonzero(second))


def millilitres(seg: Dataset) -> float:
    """What the SEG alone says: set bits × its own spacing."""
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    voxel = np.prod([float(x) for x in measures.PixelSpacing]) * measures.SpacingBetweenSlices
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8)).sum()
    return float(bits * voxel / 1000)

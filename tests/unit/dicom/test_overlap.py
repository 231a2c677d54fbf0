"""Segments that overlap, as a whole and its core: each has all of its voxels, in every object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phantom import write_series
from readings import (
    Reading,
    complaints,
    mask_on_grid,
    read_by_dcmqi,
    reading_of,
    result_of,
    segment,
    two_part_labelmap,
)
from report_content import content_items, groups, number
from wetread.dicom import terms
from wetread.dicom.labels import count_labels
from wetread.errors import EncodingError
from wetread.reading import outcome_of, volumes_ml, voxels_of
from wetread.results import SegmentationResult

WHOLE, CORE = segment(1, 1, "Whole"), segment(2, 2, "Core")


def overlapping(labelmap: NDArray[np.unsignedinteger]) -> SegmentationResult:
    return replace(result_of(labelmap, (WHOLE, CORE)), segments_overlap=True)


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """The ellipsoid is the whole, 1; its left half is the core as well, 1 + 2."""
    series = write_series(tmp_path_factory.mktemp("overlap"), shape=(14, 31, 27))
    parts = two_part_labelmap(series)
    return reading_of(series, overlapping(np.where(parts == 2, 3, parts).astype(np.uint8)))


def masks(reading: Reading) -> list[NDArray[np.bool_]]:
    parts = two_part_labelmap(reading.series)
    return [parts > 0, parts == 2]


def test_the_seg_has_every_voxel_of_each(reading: Reading, tmp_path: Path) -> None:
    seg = reading.dataset("SEG")
    assert seg.SegmentsOverlap == "YES"
    assert complaints(seg, tmp_path) == []
    found = read_by_dcmqi(seg, tmp_path)
    for (array, affine), expected in zip(found, masks(reading), strict=True):
        mask = mask_on_grid(array > 0, affine, reading.series)
        np.testing.assert_array_equal(mask, expected)


def test_the_report_counts_what_is_shared_for_both(reading: Reading) -> None:
    volumes = [
        number(content_items(group, terms.VOLUME)[0]) for group in groups(reading.dataset("SR"))
    ]
    voxel_ml = reading.source.voxel_ml
    expected = [int(mask.sum()) * voxel_ml for mask in masks(reading)]
    assert volumes == pytest.approx(expected, rel=1e-5)
    voxels, extent = voxels_of(reading.result), reading.source.extent
    assert volumes_ml(voxels, extent) == pytest.approx(
        dict(zip(("Whole", "Core"), expected, strict=True))
    )
    assert f"Core {expected[1]:.1f} mL" in outcome_of(reading.result, voxels, extent)


def test_what_does_not_overlap_is_said_not_to(reading: Reading) -> None:
    apart = overlapping(two_part_labelmap(reading.series))
    assert reading_of(reading.series, apart).dataset("SEG").SegmentsOverlap == "NO"


def test_a_bit_of_no_segment_is_named(reading: Reading) -> None:
    labelmap = two_part_labelmap(reading.series)
    labelmap[0, 0, 0] = 5
    with pytest.raises(EncodingError, match=r"values that are no segment: \[5\]"):
        count_labels(overlapping(labelmap), labelmap.shape)


def test_a_label_value_of_two_bits_is_refused(reading: Reading) -> None:
    labelmap = two_part_labelmap(reading.series)
    result = replace(overlapping(labelmap), segments=(WHOLE, segment(2, 3, "Core")))
    with pytest.raises(EncodingError, match="label value 3 of phantom_ct is no power of two"):
        count_labels(result, labelmap.shape)

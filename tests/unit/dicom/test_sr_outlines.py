"""The outlines in a report stand on the border of the mask, in the right image."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from readings import Reading
from report_content import groups, image_of, points_of, regions, to_lps


def test_regions_are_the_five_slices_of_largest_area(one_part: Reading) -> None:
    areas = one_part.result.labelmap.sum(axis=(1, 2))
    expected = [
        one_part.source.instances[n].SOPInstanceUID
        for n in sorted(np.argsort(-areas.astype(int))[:5])
    ]
    found = [
        image_of(region).ReferencedSOPInstanceUID for region in regions(one_part.dataset("SR"))
    ]
    assert found == expected


def test_outlines_stand_on_the_border_in_their_image(one_part: Reading) -> None:
    """Each point is the middle of an edge between a pixel inside and one outside."""
    masks = {
        header.SOPInstanceUID: one_part.result.labelmap[number] > 0
        for number, header in enumerate(one_part.source.instances)
    }
    for region in regions(one_part.dataset("SR")):
        mask = masks[image_of(region).ReferencedSOPInstanceUID]
        for column, row in points_of(region):
            on_vertical_edge = column == int(column)
            before = (row, column - 1) if on_vertical_edge else (row - 1, column)
            # The corner of pixel (0, 0) is 0\\0, so a pixel spans from its index to the next.
            pair = mask[int(row), int(column)], mask[int(before[0]), int(before[1])]
            assert sorted(map(bool, pair)) == [False, True]


def test_outlines_stand_on_the_ellipsoid_in_millimetres(one_part: Reading) -> None:
    """By the geometry of the image they name, within one pixel of 4.0 × 3.5 mm."""
    files = {header.SOPInstanceUID: header for header in map(dcmread, one_part.series.paths)}
    for region in regions(one_part.dataset("SR")):
        image = files[image_of(region).ReferencedSOPInstanceUID]
        on_edge = (to_lps(image, points_of(region)) - one_part.series.ellipsoid_centre) / (
            one_part.series.ellipsoid_axes
        )
        radius = np.linalg.norm(on_edge, axis=1)
        assert radius.mean() == pytest.approx(1.0, abs=0.05)
        assert np.abs(radius - 1).max() < 4.0 / min(one_part.series.ellipsoid_axes)


def test_an_outline_is_closed_and_as_large_as_its_mask(one_part: Reading) -> None:
    areas = sorted(one_part.result.labelmap.sum(axis=(1, 2)))[-5:]
    outlines = regions(one_part.dataset("SR"))
    assert sorted(map(area_of, outlines)) == pytest.approx(areas, rel=0.06)
    for region in outlines:
        np.testing.assert_array_equal(points_of(region)[0], points_of(region)[-1])


def test_outlines_name_the_frames_of_an_enhanced_image(enhanced: Reading) -> None:
    """Frame numbers are the image's own, from 1, and each outline is that frame's."""
    labelmap, frames = enhanced.result.labelmap, enhanced.source.frame_numbers
    first, _ = groups(enhanced.dataset("SR"))
    areas = (labelmap == 1).sum(axis=(1, 2))
    numbers = [frames.index(image_of(item).ReferencedFrameNumber) for item in regions(first)]
    assert sorted(areas[numbers]) == sorted(areas)[-5:]
    assert [area_of(item) for item in regions(first)] == pytest.approx(areas[numbers], rel=0.06)


def area_of(region: Dataset) -> float:
    column, row = points_of(region).T
    return float(abs(np.sum(column[:-1] * row[1:] - column[1:] * row[:-1])) / 2)

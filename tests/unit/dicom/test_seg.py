"""The SEG of a result, judged by dciodvfy, dcmqi, highdicom and arithmetic."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from phantom import grid_points, write_series
from readings import (
    MODEL,
    Reading,
    complaints,
    mask_on_grid,
    read_by_dcmqi,
    reading_of,
    result_context,
    result_of,
    segment,
)
from report_content import code_of
from wetread.dicom import terms
from wetread.dicom.multiframe import decimal
from wetread.dicom.seg import pack_frames
from wetread.results import PredecessorReference


def test_dciodvfy_finds_no_error(any_reading: Reading, tmp_path: Path) -> None:
    assert complaints(any_reading.files["SEG"], tmp_path) == []
    assert complaints(any_reading.files["SEG"], tmp_path, "Warning") == []


@pytest.mark.parametrize(
    "keyword",
    ["ContentLabel", "SegmentationType", "LossyImageCompression", "PatientName", "StudyID"],
)
def test_dciodvfy_notices_what_is_taken_out(
    one_part: Reading, tmp_path: Path, keyword: str
) -> None:
    """The judge is awake: a SEG without a required attribute is an error."""
    dataset = one_part.dataset("SEG")
    delattr(dataset, keyword)
    assert any(keyword in line for line in complaints(dataset, tmp_path))


@pytest.mark.timeout(60)
def test_dcmqi_reads_the_same_voxels_at_the_same_millimetres(
    any_reading: Reading, tmp_path: Path
) -> None:
    parts = read_by_dcmqi(any_reading.dataset("SEG"), tmp_path)
    assert len(parts) == len(any_reading.result.segments)
    for (array, affine), one in zip(parts, any_reading.result.segments, strict=True):
        found = mask_on_grid(array > 0, affine, any_reading.series)
        np.testing.assert_array_equal(found, any_reading.result.labelmap == one.label_value)


def test_highdicom_reads_the_same_voxels_at_the_same_millimetres(any_reading: Reading) -> None:
    seg = highdicom.seg.Segmentation.from_dataset(any_reading.dataset("SEG"))
    for one in any_reading.result.segments:
        volume = seg.get_volume(segment_numbers=[one.segment_number], combine_segments=True)
        found = mask_on_grid(volume.array > 0, volume.affine, any_reading.series)
        np.testing.assert_array_equal(found, any_reading.result.labelmap == one.label_value)


def test_each_frame_is_the_phantom_where_its_source_image_is(two_parts: Reading) -> None:
    """Bit for bit: the frame's source file says where it is, and the phantom what is there."""
    seg = two_parts.dataset("SEG")
    files = {header.SOPInstanceUID: header for header in map(dcmread, two_parts.series.paths)}
    for frame, group in zip(bits(seg), seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = files[source_image(group).ReferencedSOPInstanceUID]
        points = pixel_points(source)
        left = points[..., 0] > two_parts.series.ellipsoid_centre[0]
        part = left == (segment_number(group) == 2)
        np.testing.assert_array_equal(frame, two_parts.series.mask_at(points) & part)
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert position == pytest.approx(list(source.ImagePositionPatient), abs=1e-6)


def test_each_frame_names_its_frame_of_an_enhanced_image(enhanced: Reading) -> None:
    seg, source = enhanced.dataset("SEG"), dcmread(enhanced.series.paths[0])
    for group in seg.PerFrameFunctionalGroupsSequence:
        image = source_image(group)
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        frame = source.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        ours = group.PlanePositionSequence[0].ImagePositionPatient
        assert ours == pytest.approx(list(position), abs=1e-6)


def test_derivation_is_a_segmentation_of_the_source_image(any_reading: Reading) -> None:
    for group in any_reading.dataset("SEG").PerFrameFunctionalGroupsSequence:
        (derivation,) = group.DerivationImageSequence
        assert code_of(derivation.DerivationCodeSequence[0]) == terms.SEGMENTATION
        image = source_image(group)
        assert code_of(image.PurposeOfReferenceCodeSequence[0]) == terms.SOURCE_IMAGE
        assert image.SpatialLocationsPreserved == "YES"


def test_only_slices_with_a_label_are_frames(two_parts: Reading) -> None:
    """In order of segment, then of position along the normal."""
    labelmap, seg = two_parts.result.labelmap, two_parts.dataset("SEG")
    slices = {n: np.flatnonzero((labelmap == n).any(axis=(1, 2))) for n in (1, 2)}
    assert seg.NumberOfFrames == sum(map(len, slices.values()))
    groups = seg.PerFrameFunctionalGroupsSequence
    assert [segment_number(group) for group in groups] == [
        n for n, numbers in slices.items() for _ in numbers
    ]
    places = [group.FrameContentSequence[0].DimensionIndexValues for group in groups]
    assert places == sorted(places)


def test_the_image_is_binary(one_part: Reading) -> None:
    seg = one_part.dataset("SEG")
    assert seg.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert (seg.SegmentationType, seg.SegmentsOverlap) == ("BINARY", "NO")
    assert (seg.BitsAllocated, seg.BitsStored, seg.HighBit) == (1, 1, 0)
    assert (seg.Rows, seg.Columns, seg.Modality) == (31, 27, "SEG")
    assert list(seg.ImageType) == ["DERIVED", "PRIMARY"]
    assert seg.ContentDescription == "Not for diagnostic use"


def test_grid_and_frame_of_reference_are_the_sources(one_part: Reading) -> None:
    seg, source = one_part.dataset("SEG"), dcmread(one_part.series.paths[0])
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    (shared,) = seg.SharedFunctionalGroupsSequence
    measures = shared.PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == list(source.PixelSpacing) == [4.0, 3.5]
    assert measures.SpacingBetweenSlices == measures.SliceThickness == 8.0
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert list(orientation) == list(source.ImageOrientationPatient)


def test_all_source_instances_are_referenced(any_reading: Reading) -> None:
    (series,) = any_reading.dataset("SEG").ReferencedSeriesSequence
    assert series.SeriesInstanceUID == any_reading.series.series_instance_uid
    found = {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}
    headers = [dcmread(path, stop_before_pixels=True) for path in any_reading.series.paths]
    assert found == {header.SOPInstanceUID for header in headers}
    assert len(found) == len(series.ReferencedInstanceSequence)


def test_segments_are_coded(two_parts: Reading) -> None:
    first, second = two_parts.dataset("SEG").SegmentSequence
    assert (first.SegmentNumber, first.SegmentLabel) == (1, "Lesion")
    assert (second.SegmentNumber, second.SegmentLabel) == (2, "Edema")
    category = first.SegmentedPropertyCategoryCodeSequence[0]
    assert (category.CodeValue, category.CodingSchemeDesignator) == ("91723000", "SCT")
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("12738006", "SCT")
    assert code_of(first.AnatomicRegionSequence[0]) == terms.BRAIN
    assert "AnatomicRegionSequence" not in second


def test_the_algorithm_is_named(one_part: Reading) -> None:
    (item,) = one_part.dataset("SEG").SegmentSequence
    assert item.SegmentAlgorithmType == "AUTOMATIC"
    assert item.SegmentAlgorithmName == "phantom_ct 1.2.0"
    (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (MODEL.name, MODEL.version)
    assert algorithm.AlgorithmParameters == f"weights_sha256={MODEL.weights_sha256}"


def test_the_colour_is_the_segments_cielab(one_part: Reading) -> None:
    """L* 70, a* 20, b* 40 as PS3.3 C.10.7.1.1 scales them."""
    (item,) = one_part.dataset("SEG").SegmentSequence
    lightness, a, b = (word / 65535 for word in item.RecommendedDisplayCIELabValue)
    assert (lightness * 100, a * 255 - 128, b * 255 - 128) == pytest.approx((70, 20, 40), abs=0.01)


def test_each_segment_is_tracked(two_parts: Reading) -> None:
    first, second = two_parts.dataset("SEG").SegmentSequence
    assert (first.TrackingID, second.TrackingID) == ("Lesion 1", "Edema 2")
    assert first.TrackingUID.startswith("2.25.")
    assert first.TrackingUID != second.TrackingUID


def test_absent_segments_close_ranks(tmp_path: Path) -> None:
    """BINARY numbers its segments 1, 2, …; label and tracking UID stay those of the segment."""
    series = write_series(tmp_path, shape=(14, 31, 27), slice_spacing_mm=8.0)
    segments = (segment(1, 5, "Absent"), segment(2, 300, "There"))
    labelmap = series.mask().astype(np.uint16) * 300
    seg = reading_of(series, result_of(labelmap, segments)).dataset("SEG")
    (item,) = seg.SegmentSequence
    assert (item.SegmentNumber, item.SegmentLabel, item.TrackingID) == (1, "There", "There 2")
    assert {segment_number(one) for one in seg.PerFrameFunctionalGroupsSequence} == {1}
    assert bits(seg).sum() == np.count_nonzero(series.mask())
    assert complaints(seg, tmp_path) == []


def test_a_newer_seg_says_what_it_replaces(one_part: Reading, tmp_path: Path) -> None:
    earlier = PredecessorReference(
        one_part.series.study_instance_uid, "1.2.3", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.4"
    )
    context = result_context(predecessors={"SEG": earlier})
    seg = reading_of(one_part.series, one_part.result, context).dataset("SEG")
    (image,) = seg.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == "1.2.3.4"
    assert code_of(image.PurposeOfReferenceCodeSequence[0]) == terms.TEMPORAL_PREDECESSOR
    assert [one.SeriesInstanceUID for one in seg.ReferencedSeriesSequence][1:] == ["1.2.3"]
    assert complaints(seg, tmp_path) == []


def test_a_predecessor_in_another_study_is_named_with_it(one_part: Reading, tmp_path: Path) -> None:
    earlier = PredecessorReference("1.2.5", "1.2.5.3", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.5.3.4")
    context = result_context(predecessors={"SEG": earlier})
    seg = reading_of(one_part.series, one_part.result, context).dataset("SEG")
    (study,) = seg.StudiesContainingOtherReferencedInstancesSequence
    assert study.StudyInstanceUID == "1.2.5"
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.5.3"
    assert len(seg.ReferencedSeriesSequence) == 1
    assert complaints(seg, tmp_path) == []


def test_bits_run_from_frame_to_frame_without_padding() -> None:
    """3 × 3 pixels: the second frame begins at bit 9; the whole is padded to an even length."""
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 0, 0], masks[1, 0, 1] = True, True
    assert pack_frames(masks) == bytes([0b1, 0b100, 0, 0])


def test_many_frames_are_packed_as_one_row_of_bits() -> None:
    """More frames than are packed at a time, each of 15 pixels."""
    masks = np.random.default_rng(1).integers(0, 2, (42, 3, 5), bool, endpoint=False)
    packed = np.frombuffer(pack_frames(masks), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[:630]
    np.testing.assert_array_equal(bits, masks.ravel())
    assert len(packed) == 80


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (3.5, "3.5"),
        (1 / 3, "0.33333333333333"),
        (-1 / 3, "-0.3333333333333"),
        (-123.456789012345678, "-123.45678901235"),
        (-1.23456789012345e-17, "-1.23456789e-17"),
    ],
)
def test_a_decimal_is_as_exact_as_sixteen_characters_allow(value: float, text: str) -> None:
    assert decimal(value) == text


@given(st.floats(-1e5, 1e5))
def test_a_decimal_is_the_number(value: float) -> None:
    """To a nanometre, for millimetres up to 100 m."""
    assert len(decimal(value)) <= 16
    assert float(decimal(value)) == pytest.approx(value, abs=1e-6)


def bits(seg: Dataset) -> NDArray[np.bool_]:
    """The frames, unpacked by hand: (frame, row, column)."""
    shape = int(seg.NumberOfFrames), seg.Rows, seg.Columns
    flat = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    assert len(seg.PixelData) % 2 == 0
    assert 0 <= len(flat) - np.prod(shape) < 16
    return flat[: np.prod(shape)].reshape(shape).astype(bool)


def pixel_points(image: Dataset) -> NDArray[np.float64]:
    """LPS mm of each pixel of a classic image by PS3.3 C.7.6.2.1.1, (row, column, 3)."""
    affine = np.eye(4)
    cosines = np.array(image.ImageOrientationPatient, float)
    affine[:3, 1] = cosines[3:] * float(image.PixelSpacing[0])
    affine[:3, 2] = cosines[:3] * float(image.PixelSpacing[1])
    affine[:3, 3] = np.array(image.ImagePositionPatient, float)
    return grid_points(affine, (1, image.Rows, image.Columns))[0]


def source_image(group: Dataset) -> Dataset:
    (image,) = group.DerivationImageSequence[0].SourceImageSequence
    return image


def segment_number(group: Dataset) -> int:
    return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)

"""RT Structure Sets: contours that hold the voxels of the mask, at their place in the patient."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from skimage.draw import polygon2mask

from phantom import PhantomSeries, write_series
from radiograph import write_radiograph
from readings import (
    Reading,
    complaints,
    drtdump_text,
    reading_of,
    result_context,
    result_of,
    segment,
    two_part_labelmap,
)
from wetread.dicom import terms
from wetread.dicom.attributes import read_series
from wetread.dicom.colour import rgb_of_cielab
from wetread.dicom.files import find_instances
from wetread.dicom.labels import count_labels
from wetread.dicom.rtstruct import build_structure_set
from wetread.dicom.volume import load_volume
from wetread.encode.registry import encode
from wetread.errors import EncodingError
from wetread.results import PredecessorReference

ALSO = replace(result_context(), also=frozenset({"RTSTRUCT"}))
SMALL = {"shape": (12, 40, 34), "slice_spacing_mm": 8.0}
STACKS = {
    "axial": {"shuffled": True},
    "sagittal": {"orientation": "sagittal"},
    "feet-first": {"orientation": "feet-first", "reversed_order": True},
    "oblique": {"orientation": "coronal", "oblique_degrees": 23},
    "enhanced": {"modality": "MR", "enhanced": True, "shuffled": True, "oblique_degrees": 11},
}


@pytest.fixture(scope="module", params=STACKS)
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """Two halves of the ellipsoid, one with a hole in it and an island in the hole."""
    stack = STACKS[request.param]
    series = write_series(tmp_path_factory.mktemp("stack"), **SMALL, **stack)
    labelmap = two_part_labelmap(series)
    distance = np.linalg.norm(series.points() - series.ellipsoid_centre, axis=-1)
    labelmap[(distance < 14) & (distance > 6)] = 0
    segments = (segment(1, 1), segment(2, 2, "Edema"))
    return reading_of(series, result_of(labelmap, segments), ALSO)


def filled(structure_set: Dataset, series: PhantomSeries) -> dict[int, NDArray[np.int64]]:
    """By ROI number how often each voxel of the series' grid is inside a contour.

    Goes by the millimetres alone: each contour must lie on one slice, in whichever it is.
    """
    inverse = np.linalg.inv(series.affine)
    found: dict[int, NDArray[np.int64]] = defaultdict(lambda: np.zeros(series.shape, np.int64))
    for roi in structure_set.ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            index = points @ inverse[:3, :3].T + inverse[:3, 3]
            slices = index[:, 0]
            assert np.abs(slices - slices.round()).max() < 1e-3
            number = int(slices[0].round())
            mask = polygon2mask(series.shape[1:], index[:, 1:])
            found[int(roi.ReferencedROINumber)][number] += mask
    return found


def area_mm2(points: NDArray[np.float64]) -> float:
    """Of a polygon in space."""
    cross = np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)
    return float(np.linalg.norm(cross)) / 2


def test_every_voxel_is_in_its_contour_once_and_no_other_is(reading: Reading) -> None:
    """scikit-image fills the contours, by LPS millimetres, to exactly the mask."""
    found = filled(reading.dataset("RTSTRUCT"), reading.series)
    labelmap = reading.result.labelmap
    assert set(found) == {1, 2}
    for number, times in found.items():
        assert np.array_equal(times, labelmap == number)


def test_area_times_spacing_is_the_volume_of_the_voxels(reading: Reading) -> None:
    dataset = reading.dataset("RTSTRUCT")
    for roi, said in zip(dataset.ROIContourSequence, dataset.StructureSetROISequence, strict=True):
        areas = [
            area_mm2(np.array(contour.ContourData, float).reshape(-1, 3))
            for contour in roi.ContourSequence
        ]
        millilitres = sum(areas) * reading.source.spacing_mm[0] / 1000
        voxels = (reading.result.labelmap == said.ROINumber).sum()
        assert float(said.ROIVolume) == pytest.approx(voxels * reading.source.voxel_ml)
        assert millilitres == pytest.approx(float(said.ROIVolume), rel=1e-3)


def test_each_contour_names_the_image_or_frame_it_lies_on(reading: Reading) -> None:
    dataset, source = reading.dataset("RTSTRUCT"), reading.source
    inverse = np.linalg.inv(source.affine)
    for roi in dataset.ROIContourSequence:
        for contour in roi.ContourSequence:
            [image] = contour.ContourImageSequence
            place = np.append(np.array(contour.ContourData[:3], float), 1.0)
            instance, frame = source.instance_of(round(float((inverse @ place)[0])))
            assert image.ReferencedSOPInstanceUID == instance.SOPInstanceUID
            assert image.get("ReferencedFrameNumber") == frame


def test_all_images_are_referenced(reading: Reading) -> None:
    dataset, source = reading.dataset("RTSTRUCT"), reading.source
    [frame] = dataset.ReferencedFrameOfReferenceSequence
    [study] = frame.RTReferencedStudySequence
    [series] = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == source.volume.frame_of_reference_uid
    assert study.ReferencedSOPInstanceUID == reading.series.study_instance_uid
    assert series.SeriesInstanceUID == reading.series.series_instance_uid
    uids = [image.ReferencedSOPInstanceUID for image in series.ContourImageSequence]
    assert uids == [instance.SOPInstanceUID for instance in source.instances]


def test_dciodvfy_finds_no_error(reading: Reading, tmp_path: Path) -> None:
    assert complaints(reading.files["RTSTRUCT"], tmp_path) == []
    assert complaints(reading.files["RTSTRUCT"], tmp_path, "Warning") == []


def test_it_is_not_made_unless_asked_for(one_part: Reading) -> None:
    assert list(one_part.files) == ["SEG", "SR", "SC"]


@pytest.fixture(scope="module")
def plain(one_part: Reading) -> Reading:
    return reading_of(one_part.series, one_part.result, ALSO)


@pytest.mark.parametrize("keyword", ["StructureSetLabel", "PositionReferenceIndicator"])
def test_dciodvfy_notices_what_is_taken_out(plain: Reading, tmp_path: Path, keyword: str) -> None:
    dataset = plain.dataset("RTSTRUCT")
    delattr(dataset, keyword)
    assert complaints(dataset, tmp_path) != []


def test_dcmtk_reads_it(plain: Reading, tmp_path: Path) -> None:
    text = drtdump_text(plain.dataset("RTSTRUCT"), tmp_path)
    assert "RT Structure Set object" in text
    assert "wetread phantom_ct structure set, #9005" in text


def test_it_is_preliminary_automatic_and_nobody_approved_it(plain: Reading) -> None:
    dataset = plain.dataset("RTSTRUCT")
    assert (dataset.Modality, dataset.ApprovalStatus) == ("RTSTRUCT", "UNAPPROVED")
    assert dataset.StructureSetLabel == "PRELIMINARY"
    assert dataset.StructureSetDescription == "Preliminary, automatic. Not for diagnostic use"
    [roi] = dataset.StructureSetROISequence
    assert roi.ROIGenerationAlgorithm == "AUTOMATIC"
    assert roi.ROIGenerationDescription == "phantom_ct 1.2.0"
    [algorithm] = roi.ROIDerivationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmParameters == f"weights_sha256={'ab' * 32}"


def test_name_colour_and_codes_are_those_of_the_segment(plain: Reading) -> None:
    dataset, one = plain.dataset("RTSTRUCT"), plain.result.segments[0]
    [roi], [contours] = dataset.StructureSetROISequence, dataset.ROIContourSequence
    [observation] = dataset.RTROIObservationsSequence
    assert roi.ROIName == observation.ROIObservationLabel == "Lesion"
    assert tuple(contours.ROIDisplayColor) == rgb_of_cielab(one.cielab)
    [code] = observation.RTROIIdentificationCodeSequence
    assert (code.CodeValue, code.CodeMeaning) == (one.type.value, one.type.meaning)


@pytest.mark.parametrize(
    ("category", "interpreted"),
    [
        (terms.ANATOMICAL_STRUCTURE, "ORGAN"),
        (terms.MORPHOLOGICALLY_ABNORMAL_STRUCTURE, None),
        (terms.TISSUE, None),
    ],
)
def test_a_lesion_is_no_target_unless_a_person_says_so(
    one_part: Reading, tmp_path: Path, category: object, interpreted: str | None
) -> None:
    result = replace(one_part.result, segments=(replace(segment(1, 1), category=category),))
    dataset = reading_of(one_part.series, result, ALSO).dataset("RTSTRUCT")
    assert (dataset.RTROIObservationsSequence[0].RTROIInterpretedType or None) == interpreted
    assert complaints(dataset, tmp_path) == []


def test_segments_that_overlap_are_whole_each(tmp_path: Path) -> None:
    """Bit 1 is the ellipsoid, bit 2 its left half, so the left half holds both."""
    series = write_series(tmp_path, **SMALL)
    mask, left = series.mask(), two_part_labelmap(series) == 2
    segments = (segment(1, 1), segment(2, 2, "Edema"))
    result = replace(result_of(mask + 2 * left.astype(np.uint8), segments), segments_overlap=True)
    found = filled(reading_of(series, result, ALSO).dataset("RTSTRUCT"), series)
    assert np.array_equal(found[1], mask)
    assert np.array_equal(found[2], left)


def test_a_segment_without_voxels_is_left_out_and_an_empty_mask_has_none(
    one_part: Reading,
) -> None:
    segments = (segment(1, 1), segment(2, 2, "Edema"))
    result = replace(one_part.result, segments=segments)
    dataset = reading_of(one_part.series, result, ALSO).dataset("RTSTRUCT")
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["Lesion"]
    empty = replace(result, labelmap=np.zeros_like(result.labelmap))
    assert list(reading_of(one_part.series, empty, ALSO).files) == ["SR", "SC"]


def test_an_outline_of_thousands_of_corners_fits_its_attribute(tmp_path: Path) -> None:
    """16 bits of length hold 1,985 points at least; what is longer is cut, and nothing is lost."""
    series = write_series(tmp_path, shape=(2, 180, 180), row_spacing_mm=0.7, column_spacing_mm=0.7)
    rows, columns = np.mgrid[:180, :180]
    comb = np.broadcast_to((columns % 2 == 0) | (rows == 90), series.shape).astype(np.uint8)
    dataset = reading_of(series, result_of(comb), ALSO).dataset("RTSTRUCT")
    contours = dataset.ROIContourSequence[0].ContourSequence
    assert max(contour.NumberOfContourPoints for contour in contours) <= 1985
    assert {contour["ContourData"].VR for contour in contours} == {"DS"}
    assert np.array_equal(filled(dataset, series)[1], comb)


def test_a_radiograph_has_none(tmp_path: Path) -> None:
    """It has no Frame of Reference, so no millimetres of the patient."""
    write_radiograph(tmp_path / "1.dcm", "DX")
    source = load_volume(read_series(find_instances(tmp_path)))
    result = result_of(np.ones(source.shape, np.uint8))
    assert [each.kind for each in encode(result, source, ALSO)] == ["SEG", "SR", "SC"]
    counts = count_labels(result, source.shape)
    with pytest.raises(EncodingError, match="RT Structure Set of a DX image"):
        build_structure_set(result, source, ALSO, counts)


def test_a_newer_structure_set_says_what_it_replaces(plain: Reading, tmp_path: Path) -> None:
    earlier = PredecessorReference(
        plain.series.study_instance_uid, "1.2.5.3", "1.2.840.10008.5.1.4.1.1.481.3", "1.2.5.4"
    )
    context = replace(ALSO, predecessors={"RTSTRUCT": earlier})
    dataset = reading_of(plain.series, plain.result, context).dataset("RTSTRUCT")
    [predecessor] = dataset.PredecessorStructureSetSequence
    assert predecessor.ReferencedSOPInstanceUID == "1.2.5.4"
    assert complaints(dataset, tmp_path) == []

"""RT Structure Sets: PS3.3 A.19, the outlines of a mask in millimetres of the patient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from wetread.dicom import terms
from wetread.dicom.colour import cielab_words, rgb_of_cielab
from wetread.dicom.labels import LabelCounts
from wetread.dicom.multiframe import decimal
from wetread.dicom.outlines import Corners, polygons_of
from wetread.dicom.result_header import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSTIC_USE,
    algorithm_item,
    ascii_text,
    code_item,
    predecessor_item,
    reference_item,
    result_header,
)
from wetread.dicom.volume import SourceVolume
from wetread.errors import EncodingError
from wetread.results import ResultContext, Segment, SegmentationResult

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
DETACHED_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"  # retired, and still asked for by C.8.8.5
# Contour Data is DS, whose length in an explicit VR has 16 bits (PS3.5 7.1.2). A point takes at
# most 3 × 11 characters: "-12345.678" and its separator.
MOST_POINTS = 65534 // 33
CONTOUR_DATA = Tag(tag_for_keyword("ContourData") or 0)
# Categories whose interpreted type is ORGAN. What a lesion or a tissue is to a plan, a person says.
ORGANS = {terms.ANATOMICAL_STRUCTURE.value, terms.ORGAN.value}


def build_structure_set(
    result: SegmentationResult, source: SourceVolume, context: ResultContext, counts: LabelCounts
) -> Dataset:
    """One ROI for each segment that has voxels; its number is that of the segment in the SEG.

    On every slice each island is one CLOSED_PLANAR contour along the edges of its pixels, so its
    area is that of its pixels, and a voxel is inside if its centre is. A hole is joined to the
    outline around it by a channel without width ("keyhole", C.8.8.6.3), for not every reader
    excludes a contour that lies in another one.

    The mask must not be empty. Raises EncodingError for a projection, which has no Frame of
    Reference and no millimetres of the patient.
    """
    _check(source)
    dataset = result_header(
        source,
        context,
        result.model,
        kind="RTSTRUCT",
        sop_class_uid=RT_STRUCTURE_SET_STORAGE,
        modality="RTSTRUCT",
        noun="structure set",
    )
    present = [index for index, total in enumerate(counts.totals) if total]
    _add_structure_set(dataset, source)
    dataset.StructureSetROISequence = [
        _roi_item(result, source, counts, index, number)
        for number, index in enumerate(present, start=1)
    ]
    dataset.ROIContourSequence = [
        _contours_item(result, source, counts, index, number)
        for number, index in enumerate(present, start=1)
    ]
    dataset.RTROIObservationsSequence = [
        _observation_item(counts.segments[index], number)
        for number, index in enumerate(present, start=1)
    ]
    dataset.ApprovalStatus = "UNAPPROVED"
    predecessor = context.predecessors.get("RTSTRUCT")
    if predecessor is not None:
        dataset.PredecessorStructureSetSequence = [predecessor_item(predecessor)]
    return dataset


def _check(source: SourceVolume) -> None:
    if source.is_projection:
        raise EncodingError(
            f"an RT Structure Set of a {source.modality} image, which has no Frame of Reference",
            hint="the SEG holds the mask of a radiograph, relative to its image",
            stage="encode",
        )


def _add_structure_set(dataset: Dataset, source: SourceVolume) -> None:
    first = source.instances[0]
    dataset.OperatorsName = None
    dataset.FrameOfReferenceUID = source.volume.frame_of_reference_uid
    dataset.PositionReferenceIndicator = first.get("PositionReferenceIndicator")
    dataset.StructureSetLabel = "PRELIMINARY"
    dataset.StructureSetName = dataset.SeriesDescription
    dataset.StructureSetDescription = f"Preliminary, automatic. {NOT_FOR_DIAGNOSTIC_USE}"
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.ContentDate, dataset.ContentTime
    # Of the instance, not of the document: this IOD has the two of the structure set instead.
    del dataset.ContentDate, dataset.ContentTime
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = list(_images(source))
    study.ReferencedSOPClassUID = DETACHED_STUDY_MANAGEMENT
    study.ReferencedSOPInstanceUID = first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = source.volume.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]


def _images(source: SourceVolume) -> Iterator[Dataset]:
    """Every image once; a multi-frame image with all of its frames."""
    for instance in source.instances:
        item = reference_item(instance.SOPClassUID, instance.SOPInstanceUID)
        if source.frame_numbers:
            item.ReferencedFrameNumber = sorted(source.frame_numbers)
        yield item


def _roi_item(
    result: SegmentationResult,
    source: SourceVolume,
    counts: LabelCounts,
    index: int,
    number: int,
) -> Dataset:
    segment, item = counts.segments[index], Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = source.volume.frame_of_reference_uid
    item.ROIName = ascii_text(segment.label, 64)
    item.ROIDescription = ascii_text(f"{segment.tracking_id}. {NOT_FOR_DIAGNOSTIC_USE}", 1024)
    item.ROIVolume = decimal(int(counts.totals[index]) * source.voxel_ml)
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    item.ROIGenerationDescription = ascii_text(f"{result.model.name} {result.model.version}", 1024)
    item.ROIDerivationAlgorithmIdentificationSequence = [algorithm_item(result.model)]
    return item


def _contours_item(
    result: SegmentationResult, source: SourceVolume, counts: LabelCounts, index: int, number: int
) -> Dataset:
    segment, item = counts.segments[index], Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(rgb_of_cielab(segment.cielab))
    item.RecommendedDisplayCIELabValue = cielab_words(segment.cielab)
    item.ContourSequence = [
        _contour_item(polygon, source, slice_number, place)
        for place, (slice_number, polygon) in enumerate(_polygons(result, counts, index), start=1)
    ]
    return item


def _polygons(
    result: SegmentationResult, counts: LabelCounts, index: int
) -> Iterator[tuple[int, Corners]]:
    segment, (_, rows, columns) = counts.segments[index], counts.box
    for number in counts.slices_of(index):
        mask = result.mask_of(segment, (number, rows, columns))
        for polygon in polygons_of(mask, MOST_POINTS):
            yield number, np.add(polygon, (columns.start, rows.start))


def _contour_item(polygon: Corners, source: SourceVolume, slice_number: int, place: int) -> Dataset:
    item = Dataset()
    instance, frame = source.instance_of(slice_number)
    image = reference_item(instance.SOPClassUID, instance.SOPInstanceUID)
    if frame is not None:
        image.ReferencedFrameNumber = frame
    item.ContourImageSequence = [image]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(polygon)
    item.ContourNumber = place
    # As bytes, for pydicom would make an object of each of some hundred thousand numbers.
    value = _coordinates(points_of(polygon, source, slice_number))
    item[CONTOUR_DATA] = RawDataElement(CONTOUR_DATA, "DS", len(value), value, 0, False, True)
    item.set_original_encoding(False, True, item._character_set)
    return item


def points_of(corners: Corners, source: SourceVolume, slice_number: int) -> NDArray[np.float64]:
    """Corners of pixels (column, row) on a slice (from 0) as LPS mm, shape (corner, 3)."""
    # A pixel's centre has a whole index, its corners lie half a pixel off.
    index = np.column_stack([np.full(len(corners), slice_number), corners[:, ::-1] - 0.5])
    return np.asarray(index @ source.affine[:3, :3].T + source.affine[:3, 3])


def _coordinates(points: NDArray[np.float64]) -> bytes:
    """x, y, z of each point as Decimal Strings, to the micrometre."""
    text = "\\".join(f"{value:.3f}" for value in np.round(points.ravel(), 3) + 0.0)
    return (text + " " * (len(text) % 2)).encode("ascii")


def _observation_item(segment: Segment, number: int) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.ROIObservationLabel = ascii_text(segment.label, 16)
    item.RTROIIdentificationCodeSequence = [code_item(segment.type)]
    is_organ = segment.category.value in ORGANS
    item.RTROIInterpretedType = "ORGAN" if is_organ else ""
    item.ROIInterpreter = f"{MANUFACTURER}^"
    return item

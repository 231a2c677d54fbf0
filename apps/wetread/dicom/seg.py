"""Segmentation objects: PS3.3 A.51, Segmentation Storage, BINARY.

Written directly, not through a library: 5 segments of 512 × 512 × 300 take a fraction of a
second, because only the occupied frames are touched and what frames share is built once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from wetread.dicom import terms
from wetread.dicom.colour import cielab_words
from wetread.dicom.labels import LabelCounts
from wetread.dicom.multiframe import (
    POSITION_DIMENSION,
    SEGMENT_DIMENSION,
    add_dimensions,
    derivation_item,
    plane_groups,
    position_item,
)
from wetread.dicom.result_header import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSTIC_USE,
    add_predecessor_image,
    algorithm_item,
    ascii_text,
    code_item,
    copy_lossy_compression,
    referenced_series,
    result_header,
)
from wetread.dicom.volume import SourceVolume
from wetread.results import ModelIdentity, ResultContext, Segment, SegmentationResult
from wetread.uids import result_uid

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
FRAMES_PER_CHUNK = 8  # eight frames fill whole bytes, whatever their size


def build_segmentation(
    result: SegmentationResult, source: SourceVolume, context: ResultContext, counts: LabelCounts
) -> Dataset:
    """One BINARY SEG with a frame for every slice on which a segment stands.

    BINARY needs Segment Numbers 1, 2, 3, … (PS3.3 C.8.20.2.3), so segments that have voxels are
    numbered anew in their order: a segment is known by its type and tracking UID, not its number.
    Segments without voxels are left out here; the SR says that they are absent.

    On a projection, which has no Frame of Reference, a pixel is that of the image that the frame
    is derived from (PS3.3 A.51.5.1).

    The mask must not be empty.
    """
    dataset = result_header(
        source,
        context,
        result.model,
        kind="SEG",
        sop_class_uid=SEGMENTATION_STORAGE,
        modality="SEG",
        noun="segmentation",
    )
    present = [index for index, total in enumerate(counts.totals) if total]
    frames = [(index, number) for index in present for number in counts.slices_of(index)]
    segments = [counts.segments[index] for index in present]
    _add_image(dataset, source, len(frames), overlap=counts.overlap)
    dataset.SegmentSequence = [
        _segment_item(segment, number, result.model, context)
        for number, segment in enumerate(segments, start=1)
    ]
    organization = result_uid(context.job_uid, "SEG dimensions")
    flat = source.is_projection
    dimensions = (SEGMENT_DIMENSION,) if flat else (SEGMENT_DIMENSION, POSITION_DIMENSION)
    add_dimensions(dataset, organization, dimensions)
    dataset.SharedFunctionalGroupsSequence = [Dataset() if flat else plane_groups(source)]
    dataset.PerFrameFunctionalGroupsSequence = _frame_groups(source, present, frames)
    dataset.ReferencedSeriesSequence = [referenced_series(source)]
    add_predecessor_image(dataset, context.predecessors.get("SEG"))
    dataset.PixelData = pack_frames(
        result.mask_of(counts.segments[index], (number,)) for index, number in frames
    )
    dataset["PixelData"].VR = "OB"
    return dataset


def tracking_uid(context: ResultContext, segment: Segment) -> str:
    """The UID by which SEG and SR speak of the same segment."""
    return result_uid(context.job_uid, f"segment {segment.segment_number}")


def segment_number_in_seg(counts: LabelCounts, index: int) -> int:
    """The Segment Number that segment `index` (from 0) got; it must have voxels."""
    return int(np.count_nonzero(counts.totals[: index + 1]))


def pack_frames(masks: Iterable[NDArray[np.bool_]]) -> bytes:
    """The bits of all frames (row, column), one after the other without padding (PS3.5 8.1.1).

    The first pixel is the lowest bit.
    """
    rest = iter(masks)
    chunks = iter(lambda: list(islice(rest, FRAMES_PER_CHUNK)), [])
    packed = b"".join(np.packbits(np.stack(each), bitorder="little").tobytes() for each in chunks)
    return packed + b"\0" * (len(packed) % 2)


def _add_image(dataset: Dataset, source: SourceVolume, frames: int, *, overlap: bool) -> None:
    first = source.instances[0]
    if source.is_projection:
        dataset.PatientOrientation = first.get("PatientOrientation")
    else:
        dataset.FrameOfReferenceUID = source.volume.frame_of_reference_uid
        dataset.PositionReferenceIndicator = first.get("PositionReferenceIndicator")
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SegmentationType, dataset.SegmentsOverlap = "BINARY", "YES" if overlap else "NO"
    dataset.ContentLabel = "SEGMENTATION"
    dataset.ContentDescription = NOT_FOR_DIAGNOSTIC_USE
    dataset.ContentCreatorName = f"{MANUFACTURER}^"
    dataset.NumberOfFrames = frames
    _, dataset.Rows, dataset.Columns = source.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.PixelRepresentation = 0
    copy_lossy_compression(first, dataset)


def _segment_item(
    segment: Segment, number: int, model: ModelIdentity, context: ResultContext
) -> Dataset:
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = ascii_text(segment.label, 64)
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = ascii_text(f"{model.name} {model.version}", 64)
    item.SegmentationAlgorithmIdentificationSequence = [algorithm_item(model)]
    item.SegmentedPropertyCategoryCodeSequence = [code_item(segment.category)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(segment.type)]
    if segment.anatomic_region is not None:
        item.AnatomicRegionSequence = [code_item(segment.anatomic_region)]
    item.RecommendedDisplayCIELabValue = cielab_words(segment.cielab)
    item.TrackingID = ascii_text(segment.tracking_id, 64)
    item.TrackingUID = tracking_uid(context, segment)
    return item


def _frame_groups(
    source: SourceVolume, present: Sequence[int], frames: Sequence[tuple[int, int]]
) -> list[Dataset]:
    slices = sorted({number for _, number in frames})
    # Position and derivation of a slice are the same whichever segment stands on it.
    positions = {number: position_item(source, number) for number in slices}
    derivations = {number: derivation_item(source, number, terms.SEGMENTATION) for number in slices}
    places = {number: place for place, number in enumerate(slices, start=1)}
    segments = {index: number for number, index in enumerate(present, start=1)}
    groups = []
    for index, number in frames:
        group, content, identification = Dataset(), Dataset(), Dataset()
        place = [] if source.is_projection else [places[number]]
        content.DimensionIndexValues = [segments[index], *place]
        identification.ReferencedSegmentNumber = segments[index]
        group.FrameContentSequence = [content]
        if not source.is_projection:
            group.PlanePositionSequence = [positions[number]]
        group.DerivationImageSequence = [derivations[number]]
        group.SegmentIdentificationSequence = [identification]
        groups.append(group)
    return groups

"""From a result to the DICOM objects that say it: one encoder a type of result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from wetread.dicom.labels import count_labels
from wetread.dicom.pdf import document_findings, document_segmentation
from wetread.dicom.pm import map_findings
from wetread.dicom.pr import present_findings, present_segmentation
from wetread.dicom.result_header import file_bytes
from wetread.dicom.rtstruct import build_structure_set
from wetread.dicom.sc import capture_findings, capture_segmentation
from wetread.dicom.seg import build_segmentation
from wetread.dicom.sr import report_findings, report_segmentation
from wetread.dicom.volume import SourceVolume
from wetread.errors import EncodingError, WetreadError
from wetread.results import FindingsResult, Kind, OnDemand, ResultContext, SegmentationResult


@dataclass(frozen=True, slots=True)
class EncodedObject:
    """One conformant object; `file_bytes` gives its DICOM file, always the same bytes."""

    kind: Kind
    sop_class_uid: str
    sop_instance_uid: str
    dataset: Dataset

    def file_bytes(self) -> bytes:
        """The object as a DICOM file (PS3.10), Explicit VR Little Endian."""
        return file_bytes(self.dataset)


def encode_segmentation(
    result: SegmentationResult, source: SourceVolume, context: ResultContext
) -> tuple[EncodedObject, ...]:
    """SEG, SR and SC; without the SEG if the mask is empty, which SR and SC then say.

    If asked for also PDF and, of a mask that is not empty, PR and, where it has a place in the
    patient, RTSTRUCT.
    """
    counts = count_labels(result, source.shape)
    seg = None if counts.is_empty else build_segmentation(result, source, context, counts)
    report = report_segmentation(result, source, context, counts, seg)
    capture = capture_segmentation(result, source, context, counts)
    objects = [] if seg is None else [_object("SEG", seg)]
    objects += [_object("SR", report), _object("SC", capture)]
    if OnDemand.RTSTRUCT in context.also and not (counts.is_empty or source.is_projection):
        objects.append(_object("RTSTRUCT", build_structure_set(result, source, context, counts)))
    if OnDemand.PR in context.also and not counts.is_empty:
        objects.append(_object("PR", present_segmentation(result, source, context, counts)))
    if OnDemand.PDF in context.also:
        others = [each.dataset for each in objects]
        document = document_segmentation(result, source, context, counts, others)
        objects.append(_object("PDF", document))
    return tuple(objects)


def encode_findings(
    result: FindingsResult, source: SourceVolume, context: ResultContext
) -> tuple[EncodedObject, ...]:
    """SR; a heat map as SC too, and as PM on a source that has a place in the patient.

    If asked for, PR and PDF.
    """
    objects = [_object("SR", report_findings(result, source, context))]
    picture = capture_findings(result, source, context)
    if picture is not None:
        objects.append(_object("SC", picture))
    if result.heat_map is not None and not source.is_projection:
        objects.append(_object("PM", map_findings(result, source, context)))
    if OnDemand.PR in context.also:
        objects.append(_object("PR", present_findings(result, source, context)))
    if OnDemand.PDF in context.also:
        others = [each.dataset for each in objects]
        objects.append(_object("PDF", document_findings(result, source, context, others)))
    return tuple(objects)


ENCODERS: dict[type, Callable[[Any, SourceVolume, ResultContext], tuple[EncodedObject, ...]]] = {
    SegmentationResult: encode_segmentation,
    FindingsResult: encode_findings,
}


def encode(
    result: SegmentationResult | FindingsResult, source: SourceVolume, context: ResultContext
) -> tuple[EncodedObject, ...]:
    """The DICOM objects of a result, in the order in which they are to be sent.

    UIDs come from `context.job_uid` and times from `context.created_at`, so that encoding the same
    result again gives the same bytes.

    Raises EncodingError for a result of a type that has no encoder, and for one that contradicts
    itself or its source.
    """
    encoder = ENCODERS.get(type(result))
    if encoder is None:
        known = ", ".join(sorted(kind.__name__ for kind in ENCODERS))
        raise EncodingError(
            f"no encoder for {type(result).__name__}, only for {known}",
            hint="register one in encode/registry.py",
            stage="encode",
        )
    try:
        return encoder(result, source, context)
    except WetreadError as error:
        error.stage = error.stage or "encode"
        error.study_instance_uid = str(source.instances[0].StudyInstanceUID)
        error.series_instance_uid = str(source.instances[0].SeriesInstanceUID)
        raise


def _object(kind: Kind, dataset: Dataset) -> EncodedObject:
    return EncodedObject(kind, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), dataset)

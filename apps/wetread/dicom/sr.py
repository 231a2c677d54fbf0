"""Structured Reports: PS3.3 A.35.13, Comprehensive 3D SR, PS3.16 TID 1500."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

from wetread.dicom import terms
from wetread.dicom.labels import LabelCounts
from wetread.dicom.result_header import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSTIC_USE,
    ascii_text,
    instance_references,
    predecessor_document,
    result_header,
    serial_number,
)
from wetread.dicom.sr_groups import Group, absent_group, finding_group, segment_group
from wetread.dicom.volume import SourceVolume
from wetread.errors import EncodingError
from wetread.results import (
    FindingsResult,
    ModelIdentity,
    ResultContext,
    SegmentationResult,
)

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


def report_segmentation(
    result: SegmentationResult,
    source: SourceVolume,
    context: ResultContext,
    counts: LabelCounts,
    segmentation: Dataset | None,
) -> Dataset:
    """Volume in mL, mean and standard deviation (HU for CT) of each segment.

    On a projection the area in mm² where it was detected, and no more: its values are no quantity.
    A segment without voxels is reported as absent, with 0 mL or mm². `segmentation` is the SEG, or
    None if no segment has a voxel.
    """
    groups = [
        segment_group(result, source, context, counts, index)
        if counts.totals[index]
        else absent_group(result, source, context, segment)
        for index, segment in enumerate(counts.segments)
    ]
    comments = _comments_on(result)
    if counts.is_empty:
        labels = ", ".join(segment.label for segment in counts.segments)
        comments.append(f"Nothing was segmented: no voxel of {labels}")
    return _report(source, context, result.model, groups, comments, segmentation)


def report_findings(
    result: FindingsResult, source: SourceVolume, context: ResultContext
) -> Dataset:
    """Probability and operating point of each finding, in percent, and whether it is present.

    The coordinates are the frame of the slice that speaks most for the findings, the middle one if
    there is none: the statement is about the whole image.
    Raises EncodingError if there is no finding, or a number is no probability.
    """
    if not result.findings:
        raise EncodingError(
            f"{result.model.name} gave no findings", hint="a classifier must answer for each class"
        )
    groups = [
        finding_group(result, source, context, finding, number)
        for number, finding in enumerate(result.findings, start=1)
    ]
    return _report(source, context, result.model, groups, _comments_on(result), None)


def _comments_on(result: SegmentationResult | FindingsResult) -> list[str]:
    check = [] if result.input_check is None else [result.input_check.text]
    return [NOT_FOR_DIAGNOSTIC_USE, *check, _model_text(result.model)]


def _model_text(model: ModelIdentity) -> str:
    return f"Model {model.name}, version {model.version}, weights SHA-256 {model.weights_sha256}"


def _report(
    source: SourceVolume,
    context: ResultContext,
    model: ModelIdentity,
    groups: Sequence[Group],
    comments: Sequence[str],
    segmentation: Dataset | None,
) -> Dataset:
    dataset = result_header(
        source,
        context,
        model,
        kind="SR",
        sop_class_uid=COMPREHENSIVE_3D_SR,
        modality="SR",
        noun="report",
    )
    dataset.SeriesDescription = ascii_text(
        f"wetread {model.name} - {NOT_FOR_DIAGNOSTIC_USE.lower()}", 64
    )
    dataset.update(_content(source, context, groups, comments))
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(source, segmentation)]
    predecessor = context.predecessors.get("SR")
    if predecessor is not None:
        dataset.PredecessorDocumentsSequence = [predecessor_document(predecessor)]
    return dataset


def _content(
    source: SourceVolume,
    context: ResultContext,
    groups: Sequence[Group],
    comments: Sequence[str],
) -> Dataset:
    device = DeviceObserverIdentifyingAttributes(
        uid=context.device_uid,
        name=ascii_text(context.station_name, 64),
        manufacturer_name=MANUFACTURER,
        model_name=MANUFACTURER,
        serial_number=serial_number(context),
    )
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(CodedConcept.from_code(terms.DEVICE), device)
        ),
        procedure_reported=_procedure(source),
        imaging_measurements=groups,
        title=terms.IMAGING_MEASUREMENT_REPORT,
    )
    root: Dataset = report[0]
    root.ContentSequence.append(_comments(comments))
    return root


def _procedure(source: SourceVolume) -> Code:
    if source.is_projection:
        return terms.XR_PROCEDURE
    return terms.CT_PROCEDURE if source.modality == "CT" else terms.MR_PROCEDURE


def _comments(comments: Sequence[str]) -> ContainerContentItem:
    """The Qualitative Evaluations container of TID 1500 with one text a comment."""
    container = ContainerContentItem(
        name=terms.QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS
    )
    items = [
        TextContentItem(
            name=terms.COMMENT,
            value=ascii_text(comment, 1024),
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        for comment in comments
    ]
    container.ContentSequence = ContentSequence(items)
    return container


def _evidence(source: SourceVolume, segmentation: Dataset | None) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = source.instances[0].StudyInstanceUID
    series = [(source.instances[0].SeriesInstanceUID, source.instances)]
    if segmentation is not None:
        series.append((segmentation.SeriesInstanceUID, (segmentation,)))
    study.ReferencedSeriesSequence = [_evidence_series(uid, members) for uid, members in series]
    return study


def _evidence_series(uid: str, members: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ReferencedSOPSequence = instance_references(members)
    return item

"""Structured Reports: PS3.3 A.35.13, Comprehensive 3D SR, PS3.16 TID 1500.

OHIF opens a measurement group only if it holds image coordinates. So a segment is a TID 1411 group
with the outlines of its mask, tied to the SEG by the tracking UID and the evidence, and
everything else is a TID 1501 group whose numbers carry coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    CoordinatesForMeasurement,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageRegion,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr import Measurement as MeasurementItem
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code

from wetread.dicom import terms
from wetread.dicom.contours import frame_rectangle, largest_contour
from wetread.dicom.labels import LabelCounts
from wetread.dicom.result_header import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSTIC_USE,
    ascii_text,
    instance_references,
    plain_code,
    reference_item,
    result_header,
    serial_number,
)
from wetread.dicom.seg import tracking_uid
from wetread.dicom.volume import SourceVolume
from wetread.errors import EncodingError
from wetread.results import (
    Finding,
    FindingsResult,
    Measurement,
    ModelIdentity,
    PredecessorReference,
    ResultContext,
    Segment,
    SegmentationResult,
)
from wetread.uids import result_uid

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SLICES_WITH_CONTOUR = 5

Group = VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations


def report_segmentation(
    result: SegmentationResult,
    source: SourceVolume,
    context: ResultContext,
    counts: LabelCounts,
    segmentation: Dataset | None,
) -> Dataset:
    """Volume in mL, mean and standard deviation (HU for CT) of each segment.

    A segment without voxels is reported as absent, with 0 mL. `segmentation` is the SEG, or None
    if no segment has a voxel.
    """
    groups = [
        _segment_group(result, source, context, counts, index)
        if counts.totals[index]
        else _absent_group(result, source, context, segment)
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
        _finding_group(result, source, context, finding, number)
        for number, finding in enumerate(result.findings, start=1)
    ]
    return _report(source, context, result.model, groups, _comments_on(result), None)


def _segment_group(
    result: SegmentationResult,
    source: SourceVolume,
    context: ResultContext,
    counts: LabelCounts,
    index: int,
) -> Group:
    segment = counts.segments[index]
    values = _values(result, source, counts, index)
    name, unit = _intensity(source)
    spread = [
        (terms.MEAN, float(values.mean(dtype=np.float64))),
        (terms.STANDARD_DEVIATION, float(values.std(dtype=np.float64))),
    ]
    volume = float(counts.totals[index]) * source.voxel_ml
    measurements = [
        MeasurementItem(name=terms.VOLUME, value=_rounded(volume), unit=terms.MILLILITRE)
    ]
    measurements += [
        MeasurementItem(name=name, value=_rounded(value), unit=unit, derivation=derivation)
        for derivation, value in spread
    ]
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(context, segment),
        referenced_regions=_regions(result, source, counts, index),
        finding_type=plain_code(segment.type),
        finding_sites=_sites(segment.anatomic_region),
        algorithm_id=_algorithm(result.model),
        measurements=measurements,
    )


def _absent_group(
    result: SegmentationResult, source: SourceVolume, context: ResultContext, segment: Segment
) -> Group:
    volume = Measurement(terms.VOLUME, 0.0, terms.MILLILITRE)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(context, segment),
        finding_type=plain_code(segment.type),
        finding_sites=_sites(segment.anatomic_region),
        algorithm_id=_algorithm(result.model),
        measurements=[_number_on_frame(volume, source)],
        qualitative_evaluations=[
            QualitativeEvaluation(terms.PRESENCE_OF_PROPERTY, terms.ABSENT),
        ],
    )


def _finding_group(
    result: FindingsResult,
    source: SourceVolume,
    context: ResultContext,
    finding: Finding,
    number: int,
) -> Group:
    for value in (finding.probability, finding.operating_point):
        if not 0.0 <= value <= 1.0:
            raise EncodingError(
                f"{result.model.name}: {value} for {finding.finding.meaning} is not a probability",
                hint="the model must give numbers from 0 to 1",
            )
    numbers = (
        Measurement(terms.PROBABILITY, round(100 * finding.probability, 2), terms.PERCENT),
        Measurement(terms.THRESHOLD_VALUE, round(100 * finding.operating_point, 2), terms.PERCENT),
        *finding.measurements,
    )
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=result_uid(context.job_uid, f"finding {number}"),
            identifier=ascii_text(finding.finding.meaning, 64),
        ),
        finding_type=plain_code(finding.finding),
        finding_sites=_sites(finding.finding_site),
        algorithm_id=_algorithm(result.model),
        measurements=[_number_on_frame(one, source, result.slice_index) for one in numbers],
        qualitative_evaluations=[
            QualitativeEvaluation(
                terms.PRESENCE_OF_PROPERTY, terms.PRESENT if finding.is_present else terms.ABSENT
            )
        ],
    )


def _number_on_frame(
    measurement: Measurement, source: SourceVolume, slice_index: int | None = None
) -> MeasurementItem:
    slices, rows, columns = source.shape
    number = slices // 2 if slice_index is None else slice_index
    coordinates = CoordinatesForMeasurement(
        graphic_type="POLYLINE",
        graphic_data=frame_rectangle(rows, columns),
        source_image=_source_image(source, number),
    )
    return MeasurementItem(
        name=plain_code(measurement.name),
        value=measurement.value,
        unit=plain_code(measurement.unit),
        derivation=measurement.derivation,
        referenced_coordinates=[coordinates],
    )


def _values(
    result: SegmentationResult, source: SourceVolume, counts: LabelCounts, index: int
) -> NDArray[np.float32]:
    value, (_, rows, columns) = counts.segments[index].label_value, counts.box
    array, labelmap = source.array, result.labelmap
    return np.concatenate(
        [
            array[number, rows, columns][labelmap[number, rows, columns] == value]
            for number in counts.slices_of(index)
        ]
    )


def _rounded(value: float) -> float:
    """Six significant digits: neither a voxel's volume nor the mean of an ADC map becomes 0."""
    return float(f"{value:.6g}")


def _regions(
    result: SegmentationResult, source: SourceVolume, counts: LabelCounts, index: int
) -> list[ImageRegion]:
    largest = np.argsort(-counts.counts[index], kind="stable")[:SLICES_WITH_CONTOUR]
    numbers = sorted(int(number) for number in largest if counts.counts[index][number])
    value, (_, rows, columns) = counts.segments[index].label_value, counts.box
    regions = []
    for number in numbers:
        outline = largest_contour(result.labelmap[number, rows, columns] == value)
        regions.append(
            ImageRegion(
                graphic_type="POLYLINE",
                graphic_data=np.add(outline, (columns.start, rows.start)),
                source_image=_source_image(source, number),
            )
        )
    return regions


def _source_image(source: SourceVolume, number: int) -> SourceImageForRegion:
    instance, frame = source.instance_of(number)
    return SourceImageForRegion(
        instance.SOPClassUID, instance.SOPInstanceUID, None if frame is None else [frame]
    )


def _intensity(source: SourceVolume) -> tuple[Code, Code]:
    if source.modality == "CT":
        return terms.ATTENUATION_COEFFICIENT, terms.HOUNSFIELD_UNIT
    return terms.MR_SIGNAL_INTENSITY, terms.NO_UNITS


def _tracking(context: ResultContext, segment: Segment) -> TrackingIdentifier:
    return TrackingIdentifier(
        uid=tracking_uid(context, segment), identifier=ascii_text(segment.tracking_id, 64)
    )


def _sites(site: Code | None) -> list[FindingSite] | None:
    return None if site is None else [FindingSite(plain_code(site))]


def _algorithm(model: ModelIdentity) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=ascii_text(model.name, 64),
        version=ascii_text(model.version, 64),
        parameters=[f"weights_sha256={model.weights_sha256}"],
        family=terms.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


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
        dataset.PredecessorDocumentsSequence = [_predecessor_item(predecessor)]
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
    is_ct = source.modality == "CT"
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(CodedConcept.from_code(terms.DEVICE), device)
        ),
        procedure_reported=terms.CT_PROCEDURE if is_ct else terms.MR_PROCEDURE,
        imaging_measurements=groups,
        title=terms.IMAGING_MEASUREMENT_REPORT,
    )
    root: Dataset = report[0]
    root.ContentSequence.append(_comments(comments))
    return root


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


def _predecessor_item(predecessor: PredecessorReference) -> Dataset:
    study, series = Dataset(), Dataset()
    study.StudyInstanceUID = predecessor.study_instance_uid
    series.SeriesInstanceUID = predecessor.series_instance_uid
    series.ReferencedSOPSequence = [
        reference_item(predecessor.sop_class_uid, predecessor.sop_instance_uid)
    ]
    study.ReferencedSeriesSequence = [series]
    return study

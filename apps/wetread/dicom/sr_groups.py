"""Measurement groups of a Structured Report: PS3.16 TID 1411 and 1501.

OHIF opens a measurement group only if it holds image coordinates. So a segment is a group with the
outlines of its mask, tied to the SEG by the tracking UID and the evidence, and everything else is a
TID 1501 group whose numbers carry coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CoordinatesForMeasurement,
    FindingSite,
    ImageRegion,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForRegion,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr import Measurement as MeasurementItem
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from wetread.dicom import terms
from wetread.dicom.contours import frame_rectangle, largest_contour
from wetread.dicom.labels import LabelCounts
from wetread.dicom.result_header import (
    MANUFACTURER,
    ascii_text,
    plain_code,
)
from wetread.dicom.seg import tracking_uid
from wetread.dicom.volume import SourceVolume
from wetread.errors import EncodingError
from wetread.results import (
    Finding,
    FindingsResult,
    Measurement,
    ModelIdentity,
    ResultContext,
    Segment,
    SegmentationResult,
)
from wetread.uids import result_uid

SLICES_WITH_CONTOUR = 5

Group = VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations


def segment_group(
    result: SegmentationResult,
    source: SourceVolume,
    context: ResultContext,
    counts: LabelCounts,
    index: int,
) -> Group:
    """Size, mean and standard deviation of segment `index` (from 0), which has voxels."""
    segment = counts.segments[index]
    if source.is_projection:
        return _outlined_group(result, source, context, counts, index)
    values = _values(result, source, counts, index)
    name, unit = _intensity(source)
    spread = [
        (terms.MEAN, float(values.mean(dtype=np.float64))),
        (terms.STANDARD_DEVIATION, float(values.std(dtype=np.float64))),
    ]
    size = _size(source, int(counts.totals[index]))
    measurements = [MeasurementItem(name=size.name, value=size.value, unit=size.unit)]
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


def _outlined_group(
    result: SegmentationResult,
    source: SourceVolume,
    context: ResultContext,
    counts: LabelCounts,
    index: int,
) -> Group:
    """Of the one plane of a projection: its size, which carries the largest outline."""
    segment = counts.segments[index]
    size = _size(source, int(counts.totals[index]))
    number, outline = next(_outlines(result, counts, index))
    coordinates = CoordinatesForMeasurement(
        graphic_type="POLYLINE", graphic_data=outline, source_image=_source_image(source, number)
    )
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(context, segment),
        finding_type=plain_code(segment.type),
        finding_sites=_sites(segment.anatomic_region),
        algorithm_id=_algorithm(result.model),
        measurements=[
            MeasurementItem(
                name=size.name,
                value=size.value,
                unit=size.unit,
                referenced_coordinates=[coordinates],
            )
        ],
    )


def _size(source: SourceVolume, voxels: int) -> Measurement:
    if source.is_projection:
        _, rows, columns = source.spacing_mm
        area = _rounded(voxels * rows * columns)
        return Measurement(terms.AREA, area, terms.SQUARE_MILLIMETRE)
    return Measurement(terms.VOLUME, _rounded(voxels * source.voxel_ml), terms.MILLILITRE)


def absent_group(
    result: SegmentationResult, source: SourceVolume, context: ResultContext, segment: Segment
) -> Group:
    """That a segment has no voxel."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(context, segment),
        finding_type=plain_code(segment.type),
        finding_sites=_sites(segment.anatomic_region),
        algorithm_id=_algorithm(result.model),
        measurements=[_number_on_frame(_size(source, 0), source)],
        qualitative_evaluations=[
            QualitativeEvaluation(terms.PRESENCE_OF_PROPERTY, terms.ABSENT),
        ],
    )


def finding_group(
    result: FindingsResult,
    source: SourceVolume,
    context: ResultContext,
    finding: Finding,
    number: int,
) -> Group:
    """How likely a finding is. Raises EncodingError for what is no probability."""
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
    segment, (_, rows, columns) = counts.segments[index], counts.box
    parts = [(number, rows, columns) for number in counts.slices_of(index)]
    return np.concatenate([source.array[part][result.mask_of(segment, part)] for part in parts])


def _rounded(value: float) -> float:
    """Six significant digits: neither a voxel's volume nor the mean of an ADC map becomes 0."""
    return float(f"{value:.6g}")


def _regions(
    result: SegmentationResult, source: SourceVolume, counts: LabelCounts, index: int
) -> list[ImageRegion]:
    return [
        ImageRegion(
            graphic_type="POLYLINE",
            graphic_data=outline,
            source_image=_source_image(source, number),
        )
        for number, outline in _outlines(result, counts, index)
    ]


def _outlines(
    result: SegmentationResult, counts: LabelCounts, index: int
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The largest outline on each of the slices with the most voxels, in their order."""
    largest = np.argsort(-counts.counts[index], kind="stable")[:SLICES_WITH_CONTOUR]
    numbers = sorted(int(number) for number in largest if counts.counts[index][number])
    segment, (_, rows, columns) = counts.segments[index], counts.box
    for number in numbers:
        outline = largest_contour(result.mask_of(segment, (number, rows, columns)))
        yield number, np.add(outline, (columns.start, rows.start))


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

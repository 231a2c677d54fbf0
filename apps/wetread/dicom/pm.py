"""Parametric Map objects: PS3.3 A.75, one float32 a pixel on the grid of the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code

from wetread.dicom import terms
from wetread.dicom.multiframe import (
    POSITION_DIMENSION,
    add_dimensions,
    decimal,
    derivation_item,
    plane_groups,
    position_item,
)
from wetread.dicom.result_header import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSTIC_USE,
    add_predecessor_image,
    ascii_text,
    code_item,
    copy_lossy_compression,
    referenced_series,
    result_header,
)
from wetread.dicom.volume import SourceVolume
from wetread.errors import EncodingError
from wetread.results import FindingsResult, ModelIdentity, ResultContext, findings_in_words
from wetread.uids import result_uid

PARAMETRIC_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.30"
Floats = NDArray[np.float32]
IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
# Parts of the body that are not paired, by their Defined Terms of PS3.16 Annex L.
BODY_PARTS = {
    "ABDOMEN": terms.ABDOMEN,
    "BRAIN": terms.BRAIN,
    "CHEST": terms.THORAX,
    "HEAD": terms.HEAD,
    "NECK": terms.NECK,
    "PELVIS": terms.PELVIS,
}


@dataclass(frozen=True, slots=True)
class MapWords:
    """What a map shows (a code of CID 7180), of which statement, by which method."""

    quantity: Code
    statement: str
    method: str


def build_parametric_map(
    maps: Mapping[int, Floats],
    source: SourceVolume,
    context: ResultContext,
    model: ModelIdentity,
    words: MapWords,
) -> Dataset:
    """One frame for each slice of `maps`: slice (from 0, along the source) → (row, column).

    Slices that `maps` has not are left out, for a frame of zeros would say that nothing matters
    there. Values are as they are, without a unit; the window shows them from 0 (or as far below)
    to the largest.

    Raises EncodingError for a projection: a Parametric Map is a volume in a Frame of Reference of
    the patient, which radiographs have not; and for a map of another shape than the slice.
    """
    _check(maps, source)
    dataset = result_header(
        source,
        context,
        model,
        kind="PM",
        sop_class_uid=PARAMETRIC_MAP_STORAGE,
        modality="OT",
        noun="explanation",
    )
    numbers = sorted(maps)
    values = np.stack([np.asarray(maps[number], "<f4") for number in numbers])
    _add_image(dataset, source, words, len(numbers))
    add_dimensions(dataset, result_uid(context.job_uid, "PM dimensions"), (POSITION_DIMENSION,))
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(source, values, words)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_groups(source, number, place) for place, number in enumerate(numbers, start=1)
    ]
    dataset.ReferencedSeriesSequence = [referenced_series(source)]
    add_predecessor_image(dataset, context.predecessors.get("PM"))
    dataset.FloatPixelData = values.tobytes()
    return dataset


def map_findings(result: FindingsResult, source: SourceVolume, context: ResultContext) -> Dataset:
    """The heat map of a classification, on the slice that speaks most for the finding.

    Raises EncodingError if there is no heat map, and as `build_parametric_map`.
    """
    heat_map = result.heat_map
    if heat_map is None:
        raise EncodingError(
            f"{result.model.name} gave no heat map", hint="send it without a Parametric Map"
        )
    number = source.shape[0] // 2 if result.slice_index is None else result.slice_index
    quantity = terms.GRADIENT_WEIGHTED_CLASS_ACTIVATION
    words = MapWords(quantity, findings_in_words(result), heat_map.method)
    return build_parametric_map({number: heat_map.values}, source, context, result.model, words)


def _check(maps: Mapping[int, Floats], source: SourceVolume) -> None:
    if source.is_projection:
        raise EncodingError(
            f"a Parametric Map of a {source.modality} image, which has no Frame of Reference",
            hint="the Secondary Capture shows it; DICOM has no map on a radiograph",
            stage="encode",
        )
    slices, rows, columns = source.shape
    for number, values in maps.items():
        if not 0 <= number < slices or values.shape != (rows, columns):
            raise EncodingError(
                f"a map of shape {values.shape} for slice {number}; the source has {slices} "
                f"slices of {(rows, columns)}",
                hint="put the map on the grid of its source",
                stage="encode",
            )


def _add_image(dataset: Dataset, source: SourceVolume, words: MapWords, frames: int) -> None:
    first = source.instances[0]
    dataset.FrameOfReferenceUID = source.volume.frame_of_reference_uid
    dataset.PositionReferenceIndicator = first.get("PositionReferenceIndicator")
    dataset.ImageType = IMAGE_TYPE
    dataset.ContentLabel = "EXPLANATION"
    dataset.ContentDescription = NOT_FOR_DIAGNOSTIC_USE
    dataset.ContentCreatorName = f"{MANUFACTURER}^"
    dataset.ContentQualification = "RESEARCH"
    dataset.DerivationDescription = ascii_text(f"{words.statement}; {words.method}", 1024)
    dataset.AcquisitionContextSequence = []
    dataset.NumberOfFrames = frames
    _, dataset.Rows, dataset.Columns = source.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 32
    dataset.PixelPresentation, dataset.PresentationLUTShape = "MONOCHROME", "IDENTITY"
    dataset.BurnedInAnnotation = dataset.RecognizableVisualFeatures = "NO"
    copy_lossy_compression(first, dataset)


def _shared_groups(source: SourceVolume, values: Floats, words: MapWords) -> Dataset:
    shared = plane_groups(source)
    low, high = _range(values)
    shared.PixelValueTransformationSequence = [_identity()]
    window = Dataset()
    window.WindowCenter, window.WindowWidth = decimal((low + high) / 2), decimal(high - low)
    window.VOILUTFunction = "LINEAR_EXACT"
    shared.FrameVOILUTSequence = [window]
    shared.FrameAnatomySequence = [_anatomy(source)]
    shared.RealWorldValueMappingSequence = [_real_world(values, words)]
    kind = Dataset()
    kind.FrameType = IMAGE_TYPE
    shared.ParametricMapFrameTypeSequence = [kind]
    return shared


def _range(values: Floats) -> tuple[float, float]:
    """From 0, or from as far below as above, to the largest; never nothing."""
    largest = float(np.abs(values).max()) or 1.0
    return (-largest if values.min() < 0 else 0.0), largest


def _identity() -> Dataset:
    item = Dataset()
    item.RescaleIntercept, item.RescaleSlope, item.RescaleType = 0, 1, "US"
    return item


def _anatomy(source: SourceVolume) -> Dataset:
    """The part of the body, where the source names one; else all of it, which is always true.

    None of these is paired; Frame Laterality has no value for "not known" (PS3.3 C.7.6.16.2.8).
    """
    part = str(source.instances[0].get("BodyPartExamined") or "").upper()
    item = Dataset()
    item.AnatomicRegionSequence = [code_item(BODY_PARTS.get(part, terms.ENTIRE_BODY))]
    item.FrameLaterality = "U"
    return item


def _real_world(values: Floats, words: MapWords) -> Dataset:
    """PS3.3 C.7.6.16.2.11: the values are what they are, without a unit."""
    item = Dataset()
    item.LUTExplanation, item.LUTLabel = ascii_text(words.statement, 64), "EXPLANATION"
    item.MeasurementUnitsCodeSequence = [code_item(terms.NO_UNITS)]
    item.DoubleFloatRealWorldValueFirstValueMapped = float(values.min())
    item.DoubleFloatRealWorldValueLastValueMapped = float(values.max())
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, 1.0
    quantity, method = Dataset(), Dataset()
    quantity.ValueType, method.ValueType = "CODE", "TEXT"
    quantity.ConceptNameCodeSequence = [code_item(terms.QUANTITY)]
    quantity.ConceptCodeSequence = [code_item(words.quantity)]
    method.ConceptNameCodeSequence = [code_item(terms.MEASUREMENT_METHOD)]
    method.TextValue = ascii_text(words.method, 1024)
    item.QuantityDefinitionSequence = [quantity, method]
    return item


def _frame_groups(source: SourceVolume, number: int, place: int) -> Dataset:
    group, content = Dataset(), Dataset()
    content.DimensionIndexValues = [place]
    group.FrameContentSequence = [content]
    group.PlanePositionSequence = [position_item(source, number)]
    group.DerivationImageSequence = [derivation_item(source, number, terms.VISUAL_EXPLANATION)]
    return group

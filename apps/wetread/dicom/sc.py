"""Secondary Capture: PS3.3 A.8.1, one RGB picture that any viewer opens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from wetread.dicom import terms
from wetread.dicom.drawing import Captions
from wetread.dicom.heat_map import HeatMapWords, backdrop_of, draw_heat_map
from wetread.dicom.labels import LabelCounts
from wetread.dicom.montage import draw_montage
from wetread.dicom.result_header import (
    NOT_FOR_DIAGNOSTIC_USE,
    add_body_part,
    add_predecessor_image,
    ascii_text,
    code_item,
    copy_lossy_compression,
    reference_item,
    referenced_series,
    result_header,
)
from wetread.dicom.volume import SourceVolume
from wetread.errors import EncodingError
from wetread.results import (
    FindingsResult,
    ModelIdentity,
    ResultContext,
    SegmentationResult,
    findings_in_words,
)

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, slots=True)
class CaptureWords:
    """What a capture says of itself: the last word of its series, and what was done to the source.

    Both are for Series Description and Derivation Description; what is not ASCII becomes "?".
    """

    noun: str
    derivation: str


def capture_segmentation(
    result: SegmentationResult, source: SourceVolume, context: ResultContext, counts: LabelCounts
) -> Dataset:
    """A montage of the segmentation with its volumes in mL; no patient's text is in the picture."""
    captions = captions_of(result.model, context, "automatic segmentation")
    pixels = draw_montage(result, source, counts, captions)
    words = CaptureWords("montage", "Slices with the outlines of the segments")
    return capture(pixels, source, context, result.model, words)


def capture_findings(
    result: FindingsResult, source: SourceVolume, context: ResultContext
) -> Dataset | None:
    """The slice that speaks most for the findings with their heat map; None if there is none."""
    if result.heat_map is None:
        return None
    number = source.shape[0] // 2 if result.slice_index is None else result.slice_index
    captions = captions_of(result.model, context, "automatic classification")
    words = HeatMapWords(findings_in_words(result))
    pixels = draw_heat_map({number: result.heat_map.values}, backdrop_of(source), captions, words)
    derivation = f"{result.heat_map.method} of {result.heat_map.finding.meaning}"
    return capture(pixels, source, context, result.model, CaptureWords("heat map", derivation))


def capture(
    pixels: NDArray[np.uint8],
    source: SourceVolume,
    context: ResultContext,
    model: ModelIdentity,
    words: CaptureWords,
) -> Dataset:
    """A picture of what `model` made of `source`: RGB of shape (row, column, 3).

    No text of the patient may be in it, for it is marked so. Raises EncodingError if it has another
    shape or type.
    """
    _check_picture(pixels)
    dataset = result_header(
        source,
        context,
        model,
        kind="SC",
        sop_class_uid=SECONDARY_CAPTURE,
        modality="OT",
        noun=words.noun,
    )
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = None
    add_body_part(dataset, source.instances[0])
    dataset.BurnedInAnnotation = "NO"
    comments = f"{model.name} {model.version}. {NOT_FOR_DIAGNOSTIC_USE}"
    dataset.ImageComments = ascii_text(comments, 1024)
    dataset.DerivationDescription = ascii_text(words.derivation, 1024)
    dataset.SourceImageSequence = _sources(source)
    dataset.ReferencedSeriesSequence = [referenced_series(source)]
    add_predecessor_image(dataset, context.predecessors.get("SC"))
    copy_lossy_compression(source.instances[0], dataset)
    _add_pixels(dataset, pixels)
    return dataset


def captions_of(model: ModelIdentity, context: ResultContext, what: str) -> Captions:
    """The words around a picture that goes with a result."""
    return captions_at(model, what, context.created_at, context.software_version)


def captions_at(
    model: ModelIdentity, what: str, created_at: datetime, software_version: str
) -> Captions:
    """The words around a picture: model and version, the warning, and what was made when."""
    moment = created_at.strftime("%Y-%m-%d %H:%M %Z").strip()
    return Captions(
        title=f"{model.name} {model.version}",
        warning=NOT_FOR_DIAGNOSTIC_USE.upper(),
        note=f"wetread {software_version}, {what}, {moment}, weights {model.weights_sha256[:12]}",
    )


def _check_picture(pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise EncodingError(
            f"a picture of shape {pixels.shape} and type {pixels.dtype}",
            hint="a Secondary Capture takes (row, column, 3) in uint8",
            stage="encode",
        )


def _add_pixels(dataset: Dataset, pixels: NDArray[np.uint8]) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"


def _sources(source: SourceVolume) -> list[Dataset]:
    items = []
    for instance in source.instances:
        item = reference_item(instance.SOPClassUID, instance.SOPInstanceUID)
        item.PurposeOfReferenceCodeSequence = [code_item(terms.SOURCE_IMAGE)]
        items.append(item)
    return items

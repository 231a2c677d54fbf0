"""Grayscale Softcopy Presentation States: PS3.3 A.33.1, what was found drawn over the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom import Dataset

from wetread.dicom.colour import cielab_words
from wetread.dicom.labels import LabelCounts
from wetread.dicom.multiframe import decimal
from wetread.dicom.outlines import Corners, rings_of, turning_points
from wetread.dicom.pr_values import add_grey_values, image_item
from wetread.dicom.result_header import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSTIC_USE,
    add_body_part,
    ascii_text,
    instance_references,
    result_header,
)
from wetread.dicom.volume import SourceVolume
from wetread.results import (
    FindingsResult,
    ModelIdentity,
    ResultContext,
    Segment,
    SegmentationResult,
)

GRAYSCALE_SOFTCOPY_PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
WORDS = "WORDS"
# Graphic Data is FL, whose length in an explicit VR has 16 bits (PS3.5 7.1.2): 8191 points.
MOST_POINTS = 8000
# Fractions of the displayed area, (column, row): what the words stand in.
FOOT, HEAD = ((0.01, 0.93), (0.99, 0.99)), ((0.01, 0.01), (0.99, 0.12))


def present_segmentation(
    result: SegmentationResult, source: SourceVolume, context: ResultContext, counts: LabelCounts
) -> Dataset:
    """The outlines of each segment along the edges of its pixels, with its name and size.

    A layer a segment, in its colour; below every outline what made it, and for what it is not. The
    mask must not be empty.
    """
    present = [index for index, total in enumerate(counts.totals) if total]
    dataset = _state(source, context, result.model)
    segments = [counts.segments[index] for index in present]
    dataset.GraphicLayerSequence = _layers(segments)
    annotations = []
    for layer, index in enumerate(present, start=1):
        size = source.extent.in_words(int(counts.totals[index])).replace("²", "2")
        name = f"{counts.segments[index].label} {size}"
        for number in counts.slices_of(index):
            annotation = _annotation(source, number, _layer_name(layer))
            rings = _rings(result, counts, index, number)
            annotation.GraphicObjectSequence = [line for ring in rings for line in _polylines(ring)]
            annotation.TextObjectSequence = [_text_at(max(rings, key=len), name)]
            annotations.append(annotation)
    slices = sorted({number for index in present for number in counts.slices_of(index)})
    annotations += [_words(source, number, FOOT, _said(result)) for number in slices]
    dataset.GraphicAnnotationSequence = annotations
    return dataset


def present_findings(
    result: FindingsResult, source: SourceVolume, context: ResultContext
) -> Dataset:
    """Each finding with its probability, on the image that speaks most for them."""
    dataset = _state(source, context, result.model)
    dataset.GraphicLayerSequence = _layers([])
    number = source.shape[0] // 2 if result.slice_index is None else result.slice_index
    lines = [
        f"{one.finding.meaning}: {100 * one.probability:.0f} %, "
        f"{'present' if one.is_present else 'not present'} "
        f"(from {100 * one.operating_point:.0f} %)"
        for one in result.findings
    ]
    dataset.GraphicAnnotationSequence = [
        _words(source, number, HEAD, lines),
        _words(source, number, FOOT, _said(result)),
    ]
    return dataset


def _said(result: SegmentationResult | FindingsResult) -> list[str]:
    check = [] if result.input_check is None else [result.input_check.text]
    model = result.model
    made_by = f"{MANUFACTURER} {model.name} {model.version}: preliminary, automatic"
    return [*check, f"{made_by}. {NOT_FOR_DIAGNOSTIC_USE}"]


def _state(source: SourceVolume, context: ResultContext, model: ModelIdentity) -> Dataset:
    dataset = result_header(
        source,
        context,
        model,
        kind="PR",
        sop_class_uid=GRAYSCALE_SOFTCOPY_PRESENTATION_STATE,
        modality="PR",
        noun="presentation",
    )
    dataset.PresentationCreationDate = dataset.ContentDate
    dataset.PresentationCreationTime = dataset.ContentTime
    # The two above are what this IOD has in their place.
    del dataset.ContentDate, dataset.ContentTime
    add_body_part(dataset, source.instances[0])
    dataset.ContentLabel = "PRELIMINARY"
    dataset.ContentDescription = NOT_FOR_DIAGNOSTIC_USE
    dataset.ContentCreatorName = f"{MANUFACTURER}^"
    series = Dataset()
    series.SeriesInstanceUID = source.instances[0].SeriesInstanceUID
    series.ReferencedImageSequence = instance_references(source.instances)
    dataset.ReferencedSeriesSequence = [series]
    dataset.DisplayedAreaSelectionSequence = [_whole_area(source)]
    add_grey_values(dataset, source)
    return dataset


def _whole_area(source: SourceVolume) -> Dataset:
    """All of every image, as large as fits (C.10.4)."""
    _, rows, columns = source.shape
    _, between_rows, between_columns = source.spacing_mm
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [columns, rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    if source.is_projection:
        # Its spacing is that of the detector, and nothing shall be measured by it as of a patient.
        micrometres = [round(1000 * value) for value in (between_rows, between_columns)]
        item.PresentationPixelAspectRatio = micrometres
    else:
        item.PresentationPixelSpacing = [decimal(between_rows), decimal(between_columns)]
    return item


def _layers(segments: Sequence[Segment]) -> list[Dataset]:
    layers = []
    for number, segment in enumerate(segments, start=1):
        layer = _layer(_layer_name(number), number, segment.label)
        layer.GraphicLayerRecommendedDisplayCIELabValue = cielab_words(segment.cielab)
        layers.append(layer)
    return [*layers, _layer(WORDS, len(layers) + 1, "What made this, and for what it is not")]


def _layer_name(number: int) -> str:
    return f"SEGMENT{number}"


def _layer(name: str, order: int, description: str) -> Dataset:
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = name, order
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = 0xFFFF
    layer.GraphicLayerDescription = ascii_text(description, 64)
    return layer


def _annotation(source: SourceVolume, number: int, layer: str) -> Dataset:
    annotation = Dataset()
    annotation.ReferencedImageSequence = [image_item(source, number)]
    annotation.GraphicLayer = layer
    return annotation


def _rings(
    result: SegmentationResult, counts: LabelCounts, index: int, number: int
) -> list[Corners]:
    _, rows, columns = counts.box
    rings = rings_of(result.mask_of(counts.segments[index], (number, rows, columns)))
    start = (columns.start, rows.start)
    return [np.add(turning_points(ring.corners), start) for ring in rings]


def _polylines(ring: Corners) -> Iterator[Dataset]:
    """A closed outline; one of very many corners in several pieces that meet."""
    points = [*ring.tolist(), ring[0].tolist()]
    for start in range(0, len(points) - 1, MOST_POINTS):
        piece = points[start : start + MOST_POINTS + 1]
        item = Dataset()
        # (0, 0) is the outer corner of the first pixel (C.10.5.1.2), as it is of a ring.
        item.GraphicAnnotationUnits, item.GraphicDimensions = "PIXEL", 2
        item.NumberOfGraphicPoints = len(piece)
        item.GraphicData = [float(value) for point in piece for value in point]
        item.GraphicType, item.GraphicFilled = "POLYLINE", "N"
        yield item


def _text_at(ring: Corners, text: str) -> Dataset:
    """Words at the right upper end of an outline."""
    column = ring[:, 0].max()
    row = ring[ring[:, 0] == column, 1].min()
    item = Dataset()
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.AnchorPoint = [float(column), float(row)]
    item.AnchorPointVisibility = "N"
    item.UnformattedTextValue = ascii_text(text, 1024)
    return item


def _words(
    source: SourceVolume,
    number: int,
    box: tuple[tuple[float, float], tuple[float, float]],
    lines: Sequence[str],
) -> Dataset:
    """Lines in a box of the displayed area of one image."""
    item = Dataset()
    item.BoundingBoxAnnotationUnits = "DISPLAY"
    item.BoundingBoxTopLeftHandCorner, item.BoundingBoxBottomRightHandCorner = map(list, box)
    item.BoundingBoxTextHorizontalJustification = "LEFT"
    item.UnformattedTextValue = "\r\n".join(ascii_text(line, 200) for line in lines)[:1024]
    annotation = _annotation(source, number, WORDS)
    annotation.TextObjectSequence = [item]
    return annotation

"""Walks through the content of a Structured Report by coded concept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code

from wetread.dicom import terms

MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
FINDING = Code("121071", "DCM", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
DERIVATION = Code("121401", "DCM", "Derivation")
IMAGE_REGION = Code("111030", "DCM", "Image Region")


def content_items(item: Dataset, concept: Code) -> list[Dataset]:
    """All content items below `item`, at any depth, whose concept name is `concept`."""
    return [each for each in _descendants(item) if concept_of(each) == concept]


def concept_of(item: Dataset) -> Code | None:
    """The concept name of a content item."""
    names = item.get("ConceptNameCodeSequence")
    return code_of(names[0]) if names else None


def code_of(item: Dataset) -> Code:
    """The code in a code sequence item."""
    return Code(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)


def _descendants(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from _descendants(child)


def groups(report: Dataset) -> list[Dataset]:
    """The measurement groups."""
    return content_items(report, MEASUREMENT_GROUP)


def regions(item: Dataset) -> list[Dataset]:
    """The outlines below an item."""
    return content_items(item, IMAGE_REGION)


def opens_in_ohif(group: Dataset) -> bool:
    """Whether the group has the form that OHIF opens; on others it crashes.

    A volumetric group (TID 1411) with outlines of its own, or a group (TID 1501) each of whose
    numbers carries an outline; each outline names its image.
    """
    children = list(group.ContentSequence)
    if group.ContentTemplateSequence[0].TemplateIdentifier == "1411":
        outlines = [one for one in children if concept_of(one) == IMAGE_REGION]
    else:
        outlines = [_outline_of(one) for one in children if one.ValueType == "NUM"]
    return bool(outlines) and all(
        one.get("GraphicType") == "POLYLINE" and image_of(one).ReferencedSOPInstanceUID
        for one in outlines
    )


def _outline_of(number: Dataset) -> Dataset:
    below = [one for one in number.get("ContentSequence", []) if one.ValueType == "SCOORD"]
    return below[0] if below else Dataset()


def image_of(region: Dataset) -> Dataset:
    """The reference of an outline to its image."""
    (image,) = region.ContentSequence
    assert (image.ValueType, image.RelationshipType) == ("IMAGE", "SELECTED FROM")
    return image.ReferencedSOPSequence[0]


def points_of(region: Dataset) -> NDArray[np.float64]:
    """The points of an outline, (point, 2) as (column, row)."""
    return np.array(region.GraphicData, float).reshape(-1, 2)


def number(item: Dataset) -> float:
    """The value of a NUM item."""
    return float(item.MeasuredValueSequence[0].NumericValue)


def unit(item: Dataset) -> Code:
    """The unit of a NUM item."""
    return code_of(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0])


def derivation(item: Dataset) -> Code:
    """Of what kind a NUM item is: mean, standard deviation."""
    (found,) = content_items(item, DERIVATION)
    return code_of(found.ConceptCodeSequence[0])


def presence(group: Dataset) -> Code:
    """Whether the group says present or absent."""
    (found,) = content_items(group, terms.PRESENCE_OF_PROPERTY)
    return code_of(found.ConceptCodeSequence[0])


def comments(report: Dataset) -> list[str]:
    """The texts for people."""
    return [str(item.TextValue) for item in content_items(report, terms.COMMENT)]


def evidence(study: Dataset) -> dict[str, set[tuple[str, str]]]:
    """(SOP class, SOP instance) by series."""
    return {
        series.SeriesInstanceUID: {
            (one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
            for one in series.ReferencedSOPSequence
        }
        for series in study.ReferencedSeriesSequence
    }


def to_lps(image: Dataset, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points as (column, row), corner of the first pixel 0, to LPS mm by PS3.3 C.7.6.2.1.1."""
    cosines = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in image.PixelSpacing)
    steps = cosines * [[between_columns], [between_rows]]
    return (points - 0.5) @ steps + np.array(image.ImagePositionPatient, float)

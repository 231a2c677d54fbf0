"""What the multi-frame images that we write have in common: PS3.3 C.7.6.16 and C.7.6.17."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from wetread.dicom import terms
from wetread.dicom.result_header import code_item, reference_item
from wetread.dicom.volume import SourceVolume

SEGMENT_DIMENSION = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment Number")
POSITION_DIMENSION = ("ImagePositionPatient", "PlanePositionSequence", "Image Position Patient")


def add_dimensions(
    dataset: Dataset, organization_uid: str, dimensions: Sequence[tuple[str, str, str]]
) -> None:
    """By what the frames are ordered: (attribute, functional group, label) each (C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    dataset.DimensionOrganizationSequence = [organization]
    items = []
    for keyword, group, label in dimensions:
        item = Dataset()
        item.DimensionOrganizationUID = organization_uid
        item.DimensionIndexPointer = Tag(keyword)
        item.FunctionalGroupPointer = Tag(group)
        item.DimensionDescriptionLabel = label
        items.append(item)
    dataset.DimensionIndexSequence = items


def plane_groups(source: SourceVolume) -> Dataset:
    """The shared groups that say how far apart and which way pixels lie, as in the source."""
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    between_slices, between_rows, between_columns = source.spacing_mm
    measures.PixelSpacing = [decimal(between_rows), decimal(between_columns)]
    measures.SpacingBetweenSlices = measures.SliceThickness = decimal(between_slices)
    directions = source.affine[:3, :3] / np.array(source.spacing_mm)
    cosines = (*directions[:, 2], *directions[:, 1])
    orientation.ImageOrientationPatient = [decimal(value) for value in cosines]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    return shared


def position_item(source: SourceVolume, number: int) -> Dataset:
    """Plane Position of slice `number` (from 0), in LPS mm."""
    item = Dataset()
    position = source.affine[:3, 3] + number * source.affine[:3, 0]
    item.ImagePositionPatient = [decimal(value) for value in position]
    return item


def derivation_item(source: SourceVolume, number: int, derivation: Code) -> Dataset:
    """From which image or frame that of slice `number` (from 0) was derived, and how."""
    instance, frame = source.instance_of(number)
    image = reference_item(instance.SOPClassUID, instance.SOPInstanceUID)
    if frame is not None:
        image.ReferencedFrameNumber = frame
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [code_item(terms.SOURCE_IMAGE)]
    item = Dataset()
    item.SourceImageSequence = [image]
    item.DerivationCodeSequence = [code_item(derivation)]
    return item


def decimal(value: float) -> str:
    """A Decimal String: at most 16 characters (PS3.5 6.2), as exact as that allows."""
    for digits in range(16, 0, -1):
        text = f"{float(value) + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"

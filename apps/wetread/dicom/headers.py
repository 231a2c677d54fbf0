"""Reading what a volume needs out of the headers of classic and enhanced images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import UID

from wetread.dicom.geometry import SPLIT, Plane
from wetread.dicom.opening import open_dataset
from wetread.errors import (
    GeometryError,
    MissingAttributeError,
    UnreadablePixelsError,
    UnsupportedSeriesError,
)

CLASSIC = {"1.2.840.10008.5.1.4.1.1.2": "CT", "1.2.840.10008.5.1.4.1.1.4": "MR"}
ENHANCED = {
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",  # Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",  # Legacy Converted Enhanced MR
}
# Computed and digital radiography: one plane that is projected, not a slice.
PROJECTION = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",  # for processing
}
# What is asked of an image here, and by those who write results from it. A patient's text is not
# among it: its bytes go on as they came.
UNDERSTOOD = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("ImageType", "InstanceNumber", "NumberOfFrames", "SamplesPerPixel", "Rows", "Columns"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope"),
    *("RescaleIntercept", "ModalityLUTSequence", "ImagePositionPatient", "PixelSpacing"),
    *("ImageOrientationPatient", "ImagerPixelSpacing", "FrameOfReferenceUID", "BodyPartExamined"),
    *("PositionReferenceIndicator", "Laterality", "PatientOrientation", "WindowCenter"),
    *("WindowWidth", "LossyImageCompression", "LossyImageCompressionRatio"),
    *("LossyImageCompressionMethod", "TimezoneOffsetFromUTC"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# Doses on a grid: pixels, and no picture of a patient.
_NO_IMAGES = {"1.2.840.10008.5.1.4.1.1.481.2"}
CONFORM = "the sender's object is not conformant; correct it there"


@dataclass(frozen=True, slots=True)
class Image:
    """One file with the header read from it; pixel data is still in it."""

    path: Path
    header: Dataset

    @property
    def name(self) -> str:
        """The Instance Number, else the SOP Instance UID, else the file's name."""
        number = self.header.get("InstanceNumber")
        if number is None:
            return str(self.header.get("SOPInstanceUID") or self.path.name)
        return str(number)


@dataclass(frozen=True, slots=True)
class Rescale:
    """Stored value × slope + intercept = value in HU (CT) or the image's own unit."""

    slope: float
    intercept: float


def read_image(path: Path) -> Image:
    """Read one file, pixel data undecoded.

    Raises as `open_dataset`.
    """
    return Image(path, open_dataset(path, UNDERSTOOD))


def check_kind(images: Sequence[Image], what: str) -> bool:
    """Whether the series is one enhanced multi-frame image (else: classic single-frame images).

    Raises UnsupportedSeriesError for anything that is not CT, MR, CR or DX, for localizers, colour,
    several multi-frame images in one series, and more than one projection.
    """
    for image in images:
        check_image(image, what)
    _check_names(images, what)
    if is_projection(images[0]) and len(images) > 1:
        raise UnsupportedSeriesError(
            f"{what}: {len(images)} projections, of which each is an image of its own",
            hint="send each view in a series of its own",
        )
    enhanced = [image for image in images if image.header.SOPClassUID in ENHANCED]
    if enhanced and len(images) > 1:
        raise UnsupportedSeriesError(
            f"{what}: {len(enhanced)} multi-frame among {len(images)} instances",
            hint="send one multi-frame image a series",
        )
    return bool(enhanced)


def _check_names(images: Sequence[Image], what: str) -> None:
    """One SOP Instance UID names one content (PS3.5 9.1)."""
    seen: dict[str, Image] = {}
    for image in images:
        other = seen.setdefault(str(image.header.SOPInstanceUID), image)
        if other is not image:
            raise UnsupportedSeriesError(
                f"{what}: {other.path.name} and {image.path.name} carry the same SOP Instance UID "
                f"{image.header.SOPInstanceUID}",
                hint="keep the one that is right, or ask the sender for new UIDs",
            )


def is_image(image: Image) -> bool:
    """Whether it has pixels, or is of a class that must have them."""
    uid = image.header.get("SOPClassUID") or ""
    if uid in CLASSIC or uid in ENHANCED or uid in PROJECTION:
        return True
    return uid not in _NO_IMAGES and any(each in image.header for each in PIXEL_KEYWORDS)


def check_image(image: Image, what: str) -> None:
    """Raise an InputError unless it is a CT, MR, CR or DX image that can be decoded and placed."""
    header = image.header
    uid = required(header, "SOPClassUID", image, what)
    required(header, "SOPInstanceUID", image, what)
    if uid not in CLASSIC and uid not in ENHANCED and uid not in PROJECTION:
        raise UnsupportedSeriesError(
            f"{what}: instance {image.name} is {UID(uid).name}, not a CT, MR, CR or DX image",
            hint="send the original images, or leave it out",
        )
    if "LOCALIZER" in (header.get("ImageType") or []):
        raise UnsupportedSeriesError(
            f"{what}: instance {image.name} is a localizer",
            hint="a localizer is no slice of a volume; leave it out",
        )
    if required(header, "SamplesPerPixel", image, what) != 1:
        raise UnsupportedSeriesError(
            f"{what}: instance {image.name} is in colour, {header.SamplesPerPixel} samples a pixel",
            hint="send the original grey images",
        )
    _check_pixels(image, what)
    if "PixelData" not in header:
        raise missing("PixelData", image, what)


def _check_pixels(image: Image, what: str) -> None:
    """What decoding relies on; a CT or MR image of one slice has one frame."""
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        if required(image.header, keyword, image, what) == 0 and keyword != "HighBit":
            raise missing(keyword, image, what)
    required(image.header, "PixelRepresentation", image, what)
    frames = image.header.get("NumberOfFrames") or 1
    if frames > 1 and image.header.SOPClassUID not in ENHANCED:
        raise UnsupportedSeriesError(
            f"{what}: instance {image.name} has {frames} frames, in a class for one",
            hint="send it as an enhanced image, or one image a frame",
        )


def is_projection(image: Image) -> bool:
    """Whether it is a radiograph, which has no place in the patient."""
    return image.header.get("SOPClassUID") in PROJECTION


def pixel_spacing_of_projection(image: Image, what: str) -> tuple[float, float]:
    """Between rows and columns in mm: in the patient where that is known, else at the detector.

    A CR image need not say either (PS3.3 C.8.1.1); then 1 mm, which keeps the pixels square.
    See PS3.3 C.7.6.3.1.1 and 10.7.1.1. Raises GeometryError for pixels without a size.
    """
    values = image.header.get("PixelSpacing") or image.header.get("ImagerPixelSpacing") or (1, 1)
    rows, columns = (float(value) for value in values)
    if min(rows, columns) <= 0:
        raise GeometryError(
            f"{what}: pixel spacing {rows:g} × {columns:g} mm of instance {image.name}",
            hint="correct Pixel Spacing at the sender, or leave it out",
        )
    return rows, columns


def check_frame_of_reference(images: Sequence[Image], what: str) -> str:
    """The one Frame of Reference UID of all images.

    Raises MissingAttributeError if one has none, GeometryError if they differ.
    """
    uids = {str(required(image.header, "FrameOfReferenceUID", image, what)) for image in images}
    if len(uids) > 1:
        raise GeometryError(
            f"{what}: {len(uids)} frames of reference ({', '.join(sorted(uids))})", hint=SPLIT
        )
    return uids.pop()


def plane_of_image(image: Image, what: str) -> Plane:
    """Where the one slice of a classic image lies."""
    get = {
        keyword: required(image.header, keyword, image, what)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    }
    return _plane(image.name, image, get)


def planes_of_frames(image: Image, what: str) -> list[Plane]:
    """Where each frame of an enhanced image lies; a frame's name is its number, from 1."""
    groups = {
        "ImagePositionPatient": "PlanePositionSequence",
        "ImageOrientationPatient": "PlaneOrientationSequence",
        "PixelSpacing": "PixelMeasuresSequence",
    }
    planes = []
    for number, frame in frames_of(image, what):
        values = {}
        for keyword, group in groups.items():
            item = functional_group(image, frame, group)
            values[keyword] = item.get(keyword) if item is not None else None
            if not values[keyword]:
                raise missing(keyword, image, what, frame=number)
        planes.append(_plane(str(number), image, values))
    return planes


def _plane(name: str, image: Image, values: dict[str, Any]) -> Plane:
    cosines = np.array(values["ImageOrientationPatient"], float)
    between_rows, between_columns = (float(value) for value in values["PixelSpacing"])
    return Plane(
        name=name,
        position=np.array(values["ImagePositionPatient"], float),
        rows=cosines[3:],
        columns=cosines[:3],
        spacing=(between_rows, between_columns),
        size=(int(image.header.Rows), int(image.header.Columns)),
    )


def rescale_of_image(image: Image, what: str) -> Rescale:
    """Slope and intercept of a classic image; a CT must say them, an MR need not."""
    header = image.header
    if header.SOPClassUID in CLASSIC and CLASSIC[header.SOPClassUID] == "CT":
        if "ModalityLUTSequence" in header:
            return Rescale(1.0, 0.0)
        required(header, "RescaleSlope", image, what)
        required(header, "RescaleIntercept", image, what)
    return _rescale(header, image, what)


def rescales_of_frames(image: Image, what: str) -> list[Rescale]:
    """Slope and intercept of each frame of an enhanced image (PS3.3 C.7.6.16.2.9)."""
    rescales = []
    for number, frame in frames_of(image, what):
        item = functional_group(image, frame, "PixelValueTransformationSequence")
        if item is None and ENHANCED[image.header.SOPClassUID] == "CT":
            raise missing("PixelValueTransformationSequence", image, what, frame=number)
        rescales.append(_rescale(item if item is not None else Dataset(), image, what))
    return rescales


def _rescale(item: Dataset, image: Image, what: str) -> Rescale:
    slope, intercept = item.get("RescaleSlope"), item.get("RescaleIntercept")
    if slope == 0:
        raise UnreadablePixelsError(
            f"{what}: instance {image.name} has Rescale Slope 0, which makes every value the same",
            hint=CONFORM,
        )
    return Rescale(
        1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    )


def frames_of(image: Image, what: str) -> Iterator[tuple[int, Dataset]]:
    """The per-frame functional groups with their frame numbers, from 1."""
    frames = required(image.header, "PerFrameFunctionalGroupsSequence", image, what)
    told = image.header.get("NumberOfFrames") or 1
    if len(frames) != told:
        raise GeometryError(
            f"{what}: instance {image.name} has {told} frames and describes {len(frames)}",
            hint=CONFORM,
        )
    return enumerate(frames, start=1)


def functional_group(image: Image, frame: Dataset, keyword: str) -> Dataset | None:
    """The one item of a functional group: the frame's own, else the shared one."""
    shared = image.header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    items = frame.get(keyword) or shared[0].get(keyword)
    return items[0] if items else None


def required(header: Dataset, keyword: str, image: Image, what: str) -> Any:
    """The value of an attribute; raises MissingAttributeError if it is absent or empty."""
    value = header.get(keyword)
    if value is None or value == "" or (not isinstance(value, int | float) and len(value) == 0):
        raise missing(keyword, image, what)
    return value


def missing(
    keyword: str, image: Image, what: str, *, frame: int | None = None
) -> MissingAttributeError:
    """The error that an attribute is absent or empty."""
    tag = tag_for_keyword(keyword)
    name = f"{dictionary_description(keyword)} {Tag(tag or 0)}"
    where = f"instance {image.name}" if frame is None else f"frame {frame} of instance {image.name}"
    return MissingAttributeError(
        f"{what}: {where} has no {name} (SOP Instance UID {image.header.get('SOPInstanceUID')})",
        hint=CONFORM,
    )

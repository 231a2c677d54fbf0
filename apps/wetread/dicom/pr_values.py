"""How the values of images become greys in a presentation state: as the images themselves say it.

A presentation state replaces what its images say (PS3.4 N.2), so it says the same again.
"""

from __future__ import annotations

from pydicom import Dataset

from wetread.dicom.drawing import window_of
from wetread.dicom.multiframe import decimal
from wetread.dicom.result_header import reference_item
from wetread.dicom.volume import SourceVolume

RESCALE = ("RescaleSlope", "RescaleIntercept")
WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")


def add_grey_values(dataset: Dataset, source: SourceVolume) -> None:
    """Modality LUT (C.11.1), Softcopy VOI LUT (C.11.8) and Softcopy Presentation LUT (C.11.6).

    The first holds for all images at once. Where images are rescaled differently it stays away,
    and their windows are those of stored values.
    """
    slices = range(source.shape[0])
    rescales = {_rescale_of(source, number) for number in slices}
    first = source.instances[0]
    if first.get("ModalityLUTSequence"):
        dataset.ModalityLUTSequence = first.ModalityLUTSequence
    elif len(rescales) == 1:
        [(slope, intercept)] = rescales
        dataset.RescaleIntercept, dataset.RescaleSlope = decimal(intercept), decimal(slope)
        dataset.RescaleType = "HU" if source.modality == "CT" else "US"
    dataset.SoftcopyVOILUTSequence = _windows(source, in_stored_values=len(rescales) > 1)
    dataset.PresentationLUTShape = "INVERSE" if _is_inverse(source) else "IDENTITY"


def image_item(source: SourceVolume, *numbers: int) -> Dataset:
    """A reference to the image of a slice (from 0), or to frames of a multi-frame image."""
    instance, frame = source.instance_of(numbers[0])
    item = reference_item(instance.SOPClassUID, instance.SOPInstanceUID)
    if frame is not None:
        item.ReferencedFrameNumber = sorted(source.frame_numbers[each] for each in numbers)
    return item


def _windows(source: SourceVolume, *, in_stored_values: bool) -> list[Dataset]:
    """One item for all images of the same window; it names them if there is more than one."""
    items: dict[str, tuple[Dataset, list[int]]] = {}
    centre, width = _window_that_suits(source)
    for number in range(source.shape[0]):
        item = _window_of(source, number, centre, width)
        if in_stored_values:
            _to_stored_values(item, *_rescale_of(source, number))
        items.setdefault(str(item), (item, []))[1].append(number)
    for item, numbers in items.values():
        if len(items) == 1:
            continue
        by_frame = bool(source.frame_numbers)
        item.ReferencedImageSequence = (
            [image_item(source, *numbers)]
            if by_frame
            else [image_item(source, number) for number in numbers]
        )
    return [item for item, _ in items.values()]


def _window_that_suits(source: SourceVolume) -> tuple[float, float]:
    """Centre and width for images that have none, in rescaled values."""
    low, high = window_of(source, range(source.shape[0]))
    centre = (low + high) / 2
    if source.is_projection and _is_inverse(source):
        # Its array was turned round when it was loaded, its pixels were not.
        centre = float(source.array.min() + source.array.max()) - centre
    return centre, high - low


def _is_inverse(source: SourceVolume) -> bool:
    return bool(source.instances[0].get("PhotometricInterpretation") == "MONOCHROME1")


def _window_of(source: SourceVolume, number: int, centre: float, width: float) -> Dataset:
    """The image's own; where it has none, one that suits the series."""
    said, item = _said_of(source, number, "FrameVOILUTSequence"), Dataset()
    if said.get("VOILUTSequence"):
        item.VOILUTSequence = said.VOILUTSequence
    elif said.get("WindowCenter") is None or not said.get("WindowWidth"):
        item.WindowCenter, item.WindowWidth = decimal(centre), decimal(width)
    for keyword in WINDOW:
        if said.get(keyword) not in (None, "") and keyword not in item:
            setattr(item, keyword, said.get(keyword))
    return item


def _to_stored_values(item: Dataset, slope: float, intercept: float) -> None:
    if "WindowCenter" not in item:
        return
    for keyword, offset in (("WindowCenter", intercept), ("WindowWidth", 0.0)):
        values = item[keyword].value
        values = values if item[keyword].VM > 1 else [values]
        setattr(item, keyword, [decimal((float(each) - offset) / slope) for each in values])


def _rescale_of(source: SourceVolume, number: int) -> tuple[float, float]:
    said = _said_of(source, number, "PixelValueTransformationSequence")
    slope, intercept = (said.get(keyword) for keyword in RESCALE)
    return float(1 if slope is None else slope), float(0 if intercept is None else intercept)


def _said_of(source: SourceVolume, number: int, group: str) -> Dataset:
    """What an image says by itself, or a multi-frame image in a functional group of that frame."""
    instance, frame = source.instance_of(number)
    if frame is None:
        return instance
    shared = instance.get("SharedFunctionalGroupsSequence") or [Dataset()]
    items = instance.PerFrameFunctionalGroupsSequence[frame - 1].get(group) or shared[0].get(group)
    return Dataset(items[0]) if items else Dataset()

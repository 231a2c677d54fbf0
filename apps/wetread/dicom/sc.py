"""Secondary Capture: PS3.3 A.8.1, one RGB picture that any viewer opens."""

from __future__ import annotations

from pydicom import Dataset

from wetread.dicom import terms
from wetread.dicom.labels import LabelCounts
from wetread.dicom.montage import Captions, draw_montage
from wetread.dicom.result_header import (
    NOT_FOR_DIAGNOSTIC_USE,
    add_predecessor_image,
    ascii_text,
    code_item,
    copy_lossy_compression,
    reference_item,
    referenced_series,
    result_header,
)
from wetread.dicom.volume import SourceVolume
from wetread.results import ModelIdentity, ResultContext, SegmentationResult

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def capture_segmentation(
    result: SegmentationResult, source: SourceVolume, context: ResultContext, counts: LabelCounts
) -> Dataset:
    """A montage of the segmentation with its volumes in mL; no patient's text is in the picture."""
    dataset = result_header(
        source,
        context,
        result.model,
        kind="SC",
        sop_class_uid=SECONDARY_CAPTURE,
        modality="OT",
        noun="montage",
    )
    captions = _captions(result.model, context)
    pixels = draw_montage(result, source, counts, captions)
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = None
    _add_body_part(dataset, source.instances[0])
    dataset.BurnedInAnnotation = "NO"
    dataset.ImageComments = ascii_text(f"{captions.title}. {NOT_FOR_DIAGNOSTIC_USE}", 1024)
    dataset.DerivationDescription = "Slices with the outlines of the segments"
    dataset.SourceImageSequence = _sources(source)
    dataset.ReferencedSeriesSequence = [referenced_series(source)]
    add_predecessor_image(dataset, context.predecessors.get("SC"))
    copy_lossy_compression(source.instances[0], dataset)
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"
    return dataset


def _add_body_part(dataset: Dataset, source: Dataset) -> None:
    """Laterality is type 2C (PS3.3 C.7.3.1): asked of paired body parts and of unknown ones."""
    if source.get("BodyPartExamined"):
        dataset.BodyPartExamined = source.BodyPartExamined
    if source.get("Laterality") or not source.get("BodyPartExamined"):
        dataset.Laterality = source.get("Laterality")


def _captions(model: ModelIdentity, context: ResultContext) -> Captions:
    moment = context.created_at.strftime("%Y-%m-%d %H:%M %Z").strip()
    return Captions(
        title=f"{model.name} {model.version}",
        warning=NOT_FOR_DIAGNOSTIC_USE.upper(),
        note=f"wetread {context.software_version}, automatic segmentation, {moment}, "
        f"weights {model.weights_sha256[:12]}",
    )


def _sources(source: SourceVolume) -> list[Dataset]:
    items = []
    for instance in source.instances:
        item = reference_item(instance.SOPClassUID, instance.SOPInstanceUID)
        item.PurposeOfReferenceCodeSequence = [code_item(terms.SOURCE_IMAGE)]
        items.append(item)
    return items

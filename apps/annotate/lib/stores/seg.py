"""Labelmaps as DICOM Segmentation objects, with the codes and numbers of a bundle, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import generate_uid

from lib.bundles import Bundle, Code, Segment
from lib.errors import DisagreementError
from lib.stores.base import Provenance
from lib.stores.naming import segment_named
from lib.stores.volume import Grid
from wetread.bundle_components.labelmaps import OffGridError, labelmap_of

MANUFACTURER, MODEL_NAME = "wetread", "wetread annotate"
ANNOTATION, CONSENSUS = "ANNOTATION", "CONSENSUS"
_LEARNED = CodedConcept("123110", "DCM", "Artificial Intelligence")
_GROUPED = CodedConcept("123107", "DCM", "Cluster Analysis")
_MAXIMUM_CIELAB = 0xFFFF
# Of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1).
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)


@dataclass(frozen=True)
class Author:
    """Who drew a label; `model` and `version` of the proposal that it began with, else empty.

    Of a consensus: who had it made, of which `readers`, by which algorithm.
    """

    user: str
    model: str = ""
    version: str = ""
    readers: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """For the object's Content Description, of which 64 characters are shown."""
        return f"consensus of {', '.join(self.readers)}" if self.readers else ""


def author_of(provenance: Provenance) -> Author:
    """As a Segmentation names him."""
    made, model = provenance.consensus, provenance.from_model
    if made:
        readers = tuple(made["readers"])
        return Author(provenance.annotator, made["algorithm"], made["version"], readers)
    return Author(provenance.annotator, model.get("name", ""), model.get("version", ""))


def write_seg(
    labelmap: NDArray[np.uint8],
    bundle: Bundle,
    sources: Sequence[Dataset],
    author: Author,
    serial_number: str,
) -> Segmentation:
    """A BINARY Segmentation (PS3.3 A.51) of every segment of the bundle, empty ones too.

    `labelmap` is (column, row, slice) on the grid of `sources`, in the order of `read_headers`, and
    holds the bundle's label values. Numbers and codes are the bundle's, whatever is present.
    """
    numbers = np.zeros_like(labelmap)
    for each in bundle.segments:
        numbers[labelmap == each.label_value] = each.number
    segmentation = Segmentation(
        source_images=[_with_type_2(each) for each in sources],
        pixel_array=np.ascontiguousarray(numbers.transpose(2, 1, 0)),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(each, author) for each in bundle.segments],
        series_instance_uid=generate_uid(),
        series_number=9010,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions="1",
        device_serial_number=serial_number,
        content_label=CONSENSUS if author.readers else ANNOTATION,
        content_description=(author.description or f"annotation for {bundle.name}")[:64],
        content_creator_name=author.user.replace("^", " ").replace("=", " ")[:64],
        series_description=f"{'consensus' if author.readers else 'annotation'} {bundle.name}"[:64],
        omit_empty_frames=True,
    )
    for item, each in zip(segmentation.SegmentSequence, bundle.segments, strict=True):
        item.RecommendedDisplayCIELabValue = _cielab(each)
    return segmentation


def segments_of(dataset: Dataset) -> dict[int, str]:
    """Segment number → label of a Segmentation."""
    return {int(each.SegmentNumber): str(each.SegmentLabel) for each in dataset.SegmentSequence}


def read_seg(dataset: Dataset, grid: Grid, bundle: Bundle) -> NDArray[np.uint8]:
    """The labelmap of a Segmentation on the image's grid, in the bundle's values.

    Raises DisagreementError as `labelmap_of`, and if a segment is not the bundle's.
    """
    values = _values(dataset, bundle)
    try:
        return labelmap_of(dataset, grid.affine, grid.shape, values)
    except OffGridError as error:
        raise DisagreementError(error.message, hint=error.hint) from error


def _with_type_2(source: Dataset) -> Dataset:
    """A copy in which attributes that must be there, but may be empty, are there."""
    copied = Dataset(source)
    copied.file_meta = source.file_meta
    for keyword in _TYPE_2:
        if keyword not in copied:
            setattr(copied, keyword, None)
    return copied


def _described(segment: Segment, author: Author) -> SegmentDescription:
    algorithm = None
    if author.model:
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name=author.model,
            family=_GROUPED if author.readers else _LEARNED,
            version=author.version or "unknown",
        )
    regions = [_concept(segment.region)] if segment.region else None
    return SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=_concept(segment.category),
        segmented_property_type=_concept(segment.type),
        algorithm_type="SEMIAUTOMATIC" if author.model else "MANUAL",
        algorithm_identification=algorithm,
        anatomic_regions=regions,
    )


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)


def _cielab(segment: Segment) -> list[int]:
    """As three 16-bit integers (PS3.3 C.10.7.1.1)."""
    light, red, yellow = segment.cielab
    shares = (light / 100.0, (red + 128.0) / 255.0, (yellow + 128.0) / 255.0)
    return [round(share * _MAXIMUM_CIELAB) for share in shares]


def _values(dataset: Dataset, bundle: Bundle) -> dict[int, int]:
    values: dict[int, int] = {}
    for number, label in segments_of(dataset).items():
        segment = segment_named(bundle, label)
        if segment is None:
            raise DisagreementError(
                f"SEG {dataset.SOPInstanceUID}: segment {number}, {label!r}, is none of "
                f"{bundle.name}",
                hint=f"its segments are {', '.join(each.label for each in bundle.segments)}",
            )
        values[number] = segment.label_value
    return values

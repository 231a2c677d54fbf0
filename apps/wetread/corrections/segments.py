"""Which segment of a bundle a reader's segment is: by its name, else by its codes, never by number.

Viewers number segments anew, rename them and code them in their own ways.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset
from pydicom.sr.coding import Code

from wetread.errors import InputError
from wetread.results import Segment


def concerns(seg: Dataset, declared: Sequence[Segment]) -> bool:
    """Whether a Segmentation has any of these segments."""
    return any(_match(item, declared) for item in _items(seg))


def segments_of(seg: Dataset, declared: Sequence[Segment]) -> dict[int, Segment]:
    """The declared segment of each Segment Number.

    Raises InputError, which names them, if there are some that are none of the declared.
    """
    found = {int(item.SegmentNumber): _match(item, declared) for item in _items(seg)}
    unknown = [repr(_label(item)) for item in _items(seg) if not found[int(item.SegmentNumber)]]
    if unknown:
        raise unknown_segments(seg, unknown, declared)
    return {number: segment for number, segment in found.items() if segment}


def unknown_segments(
    seg: Dataset, unknown: Sequence[str], declared: Sequence[Segment]
) -> InputError:
    """What to tell of segments, by label, that nobody can tell apart."""
    labels = ", ".join(each.label for each in declared)
    return InputError(
        f"SEG {seg.SOPInstanceUID}: {', '.join(unknown)} is none of {labels}",
        hint="give the segment its name back in the viewer, or delete it, and save again",
    )


def check_packing(seg: Dataset) -> None:
    """Raises InputError if frames of one bit a pixel do not lie bit behind bit (PS3.5 8.1.1).

    Some viewers begin each on a byte of its own: read as they should lie, such masks are slanted.
    """
    if seg.BitsAllocated != 1 or seg.file_meta.TransferSyntaxUID.is_compressed:
        return
    bits = int(seg.Rows) * int(seg.Columns) * int(seg.get("NumberOfFrames", 1))
    whole, found = -(-bits // 8), len(seg.PixelData)
    if found not in (whole, whole + whole % 2):
        raise InputError(
            f"SEG {seg.SOPInstanceUID}: its pixels are {found} bytes, {whole} belong there",
            hint="its viewer does not pack frames as DICOM asks; save it by another viewer",
        )


def labels_of(seg: Dataset) -> list[str]:
    """The labels of its segments, quoted."""
    return [repr(_label(item)) for item in _items(seg)]


def _items(seg: Dataset) -> list[Dataset]:
    # A Label Map Segmentation may describe its background, as number 0.
    return [item for item in seg.SegmentSequence if int(item.SegmentNumber)]


def _label(item: Dataset) -> str:
    return str(item.get("SegmentLabel") or "").strip()


def _match(item: Dataset, declared: Sequence[Segment]) -> Segment | None:
    label = _label(item).casefold()
    by_name = [each for each in declared if each.label.casefold() == label]
    by_code = [each for each in declared if _codes_of(each) == _codes(item)]
    for found in (by_name, by_code):
        if len(found) == 1:
            return found[0]
    return None


def _codes_of(segment: Segment) -> tuple[Code | None, ...]:
    return segment.category, segment.type, segment.anatomic_region


def _codes(item: Dataset) -> tuple[Code | None, ...]:
    return (
        _code(item, "SegmentedPropertyCategoryCodeSequence"),
        _code(item, "SegmentedPropertyTypeCodeSequence"),
        _code(item, "AnatomicRegionSequence"),
    )


def _code(item: Dataset, keyword: str) -> Code | None:
    sequence = item.get(keyword)
    if not sequence:
        return None
    found = sequence[0]
    value = found.get("CodeValue") or found.get("LongCodeValue") or ""
    return Code(str(value), str(found.get("CodingSchemeDesignator") or ""), "")

"""How often each segment's label stands on each slice of a labelmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetread.errors import EncodingError
from wetread.results import Segment, SegmentationResult

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Voxels per segment and slice, shape (segment, slice), in the order of Segment Number.

    `box` is the smallest (slice, row, column) box around all labels; empty slices of it, too.
    `overlap` says whether any voxel belongs to more than one segment.
    """

    segments: tuple[Segment, ...]
    counts: NDArray[np.int64]
    box: Box
    overlap: bool = False

    @property
    def totals(self) -> NDArray[np.int64]:
        """Voxels per segment."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def is_empty(self) -> bool:
        """Whether no segment has a voxel."""
        return not self.counts.any()

    def slices_of(self, index: int) -> list[int]:
        """The slices on which segment `index` (from 0) stands."""
        return [int(number) for number in np.flatnonzero(self.counts[index])]


def count_labels(result: SegmentationResult, shape: tuple[int, int, int]) -> LabelCounts:
    """Count the labels of a result and check them.

    Raises EncodingError if the labelmap is not on the source's grid (`shape`), if segment numbers,
    labels or values repeat or are out of range, or if a value in it belongs to no segment.
    """
    labelmap = result.labelmap
    if labelmap.shape != shape:
        raise EncodingError(
            f"labelmap of {result.model.name} has shape {labelmap.shape}, its series {shape}",
            hint="the model's post-processing must invert its spatial transforms",
        )
    if labelmap.dtype.kind != "u":
        raise EncodingError(
            f"labelmap of {result.model.name} is {labelmap.dtype}, not uint8 or uint16",
            hint="cast the labelmap at the end of the post-processing",
        )
    segments = _checked_segments(result)
    box = _box(labelmap)
    counts = np.zeros((len(segments), shape[0]), np.int64)
    for number in range(box[0].start, box[0].stop):
        plane = (number, box[1], box[2])
        counts[:, number] = [np.count_nonzero(result.mask_of(one, plane)) for one in segments]
    occupied = int(np.count_nonzero(labelmap[box]))
    if result.segments_overlap or int(counts.sum()) != occupied:
        _check_all_named(result, box)
    return LabelCounts(segments, counts, box, overlap=int(counts.sum()) > occupied)


def _checked_segments(result: SegmentationResult) -> tuple[Segment, ...]:
    segments = tuple(sorted(result.segments, key=lambda segment: segment.segment_number))
    _check_unique([segment.segment_number for segment in segments], "segment number", result)
    _check_unique([segment.label_value for segment in segments], "label value", result)
    if result.segments_overlap:
        _check_bits(segments, result)
    if not segments:
        raise EncodingError(
            f"{result.model.name} names no segments",
            hint="list them in the bundle's configs/dicom.json",
        )
    return segments


def _check_unique(numbers: Sequence[int], what: str, result: SegmentationResult) -> None:
    for number in numbers:
        if number < 1 or numbers.count(number) > 1:
            raise EncodingError(
                f"{what} {number} of {result.model.name} is not a unique number from 1",
                hint="correct the bundle's configs/dicom.json",
            )


def _check_bits(segments: Sequence[Segment], result: SegmentationResult) -> None:
    for segment in segments:
        if segment.label_value.bit_count() != 1:
            raise EncodingError(
                f"label value {segment.label_value} of {result.model.name} is no power of two, and "
                "its segments may overlap",
                hint="correct the bundle's configs/dicom.json",
            )


def _check_all_named(result: SegmentationResult, box: Box) -> None:
    values = np.unique(result.labelmap[box]).tolist()
    known = {0, *(segment.label_value for segment in result.segments)}
    bits = sum(known) if result.segments_overlap else 0
    unknown = [value for value in values if value not in known and value & ~bits]
    if not unknown:
        return
    raise EncodingError(
        f"labelmap of {result.model.name} holds values that are no segment: {unknown}",
        hint="list every label in the bundle's configs/dicom.json",
    )


def _box(labelmap: NDArray[np.unsignedinteger]) -> Box:
    slices = np.flatnonzero(labelmap.any(axis=(1, 2)))
    if not slices.size:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    first, last = int(slices[0]), int(slices[-1]) + 1
    flat: NDArray[np.bool_] = np.asarray(labelmap[first:last].any(axis=0), bool)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    return (
        slice(first, last),
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )

"""What a bundle's postprocessing gives, checked against what its `dicom.json` declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import ModelContractError
from wetread.infer.description import Description, FindingClass
from wetread.results import Finding, Segment

# Of a classifier's probabilities, whose sum is 1.
_SUM_TOLERANCE = 1e-3


def labelmap_of(
    model: str, description: Description, pred: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.unsignedinteger]:
    """A mask of the shape (slice, row, column) of the volume, as uint8 or uint16.

    `pred` is (1, slice, row, column) with label values or, where segments may overlap, has a
    channel of 0 and 1 for each segment.

    Raises ModelContractError if it has another shape, or a value that is not declared.
    """
    segments = description.segments
    if description.segments_overlap:
        return _sum_of_bits(model, segments, pred, shape)
    labels = pred[0]
    if labels.shape != shape:
        raise ModelContractError(
            f"{model}: the mask has shape {labels.shape}, the volume {shape}",
            hint="the bundle's postprocessing must undo its preprocessing (Invertd)",
        )
    known = _known_values(segments)
    found = {float(value) for value in np.unique(labels)}
    if not found <= known:
        raise ModelContractError(
            f"{model}: the mask has the values {sorted(found - known)}, "
            f"dicom.json declares {sorted(known)}",
            hint="the bundle's dicom.json and its postprocessing must agree",
        )
    return _typed(segments, labels)


def _sum_of_bits(
    model: str, segments: Sequence[Segment], pred: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.unsignedinteger]:
    if pred.shape != (len(segments), *shape):
        raise ModelContractError(
            f"{model}: the masks have the shape {pred.shape}, wanted is {(len(segments), *shape)}: "
            "a channel for each segment of dicom.json, on the grid of the volume",
            hint="the bundle's postprocessing must give a channel for each segment, and undo its "
            "preprocessing (Invertd)",
        )
    labelmap = np.zeros(shape, np.uint16)
    for segment, channel in zip(segments, pred, strict=True):
        present = channel == 1
        if not np.array_equal(present, channel != 0):
            raise ModelContractError(
                f"{model}: the mask of {segment.label} has values that are neither 0 nor 1",
                hint="the bundle's postprocessing must threshold its probabilities (AsDiscreted)",
            )
        labelmap[present] |= np.uint16(segment.label_value)
    return _typed(segments, labelmap)


def empty_labelmap(
    segments: Sequence[Segment], shape: tuple[int, ...]
) -> NDArray[np.unsignedinteger]:
    """A mask of nothing."""
    return _typed(segments, np.zeros(shape, np.uint8))


def _known_values(segments: Sequence[Segment]) -> set[int]:
    return {0, *(segment.label_value for segment in segments)}


def _typed(segments: Sequence[Segment], labels: NDArray[Any]) -> NDArray[np.unsignedinteger]:
    # Of bits, too, the largest decides: all below it add up to less than twice as much.
    return labels.astype(np.uint8 if max(_known_values(segments)) < 256 else np.uint16)


def findings_of(
    model: str,
    description: Description,
    probabilities: NDArray[Any],
    operating_points: Mapping[str, float],
) -> tuple[Finding, ...]:
    """One finding for each class that has one, in their order.

    Raises ModelContractError if the probabilities are not one for each class with the sum 1, or a
    class has no operating point.
    """
    classes = description.classes
    if probabilities.shape != (len(classes),):
        raise ModelContractError(
            f"{model}: the answer has the shape {probabilities.shape}, dicom.json declares "
            f"{len(classes)} classes",
            hint="the bundle's dicom.json and its postprocessing must agree",
        )
    total = float(probabilities.sum())
    if probabilities.min() < 0 or abs(total - 1) > _SUM_TOLERANCE:
        raise ModelContractError(
            f"{model}: the probabilities {probabilities.tolist()} have the sum {total:.4f}, not 1",
            hint="the bundle's postprocessing must turn logits into probabilities",
        )
    pairs = zip(classes, probabilities, strict=True)
    return tuple(
        Finding(
            each.finding, float(value), _point(model, each, operating_points), each.finding_site
        )
        for each, value in pairs
        if each.finding is not None
    )


def _point(model: str, each: FindingClass, operating_points: Mapping[str, float]) -> float:
    if each.label not in operating_points:
        raise ModelContractError(
            f"{model}: no operating point for {each.label}, only for {sorted(operating_points)}",
            hint="calibration.json and dicom.json must name the same classes; train again",
        )
    return float(operating_points[each.label])

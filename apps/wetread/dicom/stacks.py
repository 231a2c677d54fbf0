"""One series may hold several stacks of slices; each is then read on its own.

A multi-frame image is a stack by itself. Single-frame images whose positions repeat are told
apart by acquisition, echo, temporal position or b-value, where each group then covers the same
positions once. What is no slice of a volume (a localizer, a report) stands aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import dictionary_description

from wetread.dicom.geometry import SPACING_TOLERANCE_MM
from wetread.dicom.headers import CLASSIC, ENHANCED
from wetread.dicom.opening import value_of
from wetread.study import Unusable

# What tells the images at one position apart, in this order; then all of it together.
KEYS = (
    "AcquisitionNumber",
    "EchoNumbers",
    "EchoTime",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
)
PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
# More is a time series: nobody wants hundreds of results of one series.
MOST_STACKS = 16
_SAME_PLACE_MM = 0.1


@dataclass(frozen=True, slots=True)
class Stack:
    """Which of a series's headers belong together; `name` says what they share, "" of the whole."""

    name: str
    indices: tuple[int, ...]


def stacks_of(headers: Sequence[Dataset]) -> tuple[Stack, ...]:
    """The stacks of one series, from headers that hold KEYS, PLACE and what names an instance.

    A series that cannot be told apart is one stack, and loading it says why it is no volume.
    """
    whole = (Stack("", tuple(range(len(headers)))),)
    classic = [at for at, header in enumerate(headers) if _is_slice(header)]
    enhanced = [at for at, header in enumerate(headers) if header.get("SOPClassUID") in ENHANCED]
    names = [headers[at].get("SOPInstanceUID") for at in (*classic, *enhanced)]
    if not names or len(set(names)) < len(names):
        return whole
    if not enhanced:
        return tuple(_told_apart(headers, classic))
    found = [Stack(_name_of_multi_frame(headers[at]), (at,)) for at in enhanced]
    if not classic and len(found) == 1:
        return (Stack("", found[0].indices),)
    if classic:
        found += [
            Stack(each.name or "single-frame images", each.indices)
            for each in _told_apart(headers, classic)
        ]
    return tuple(found) if len(found) <= MOST_STACKS else whole


def _is_slice(header: Dataset) -> bool:
    is_localizer = "LOCALIZER" in (value_of(header, "ImageType") or ())
    return header.get("SOPClassUID") in CLASSIC and not is_localizer


def _name_of_multi_frame(header: Dataset) -> str:
    number = value_of(header, "InstanceNumber")
    known = number is not None and not isinstance(number, Unusable)
    return f"instance {number if known else header.SOPInstanceUID}"


def _told_apart(headers: Sequence[Dataset], chosen: Sequence[int]) -> Iterator[Stack]:
    heights = _heights([headers[at] for at in chosen])
    if heights is None or not _repeats(heights):
        yield Stack("", tuple(chosen))
        return
    for keys in (*((key,) for key in KEYS), KEYS):
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, at in enumerate(chosen):
            values = tuple(str(value_of(headers[at], key)) for key in keys)
            groups.setdefault(values, []).append(number)
        if _resolve(list(groups.values()), heights):
            for values, numbers in groups.items():
                yield Stack(_words(keys, values), tuple(chosen[number] for number in numbers))
            return
    yield Stack("", tuple(chosen))


def _words(keys: Sequence[str], values: Sequence[str]) -> str:
    pairs = zip(keys, values, strict=True)
    return ", ".join(f"{dictionary_description(key)} {value}" for key, value in pairs)


def _heights(headers: Sequence[Dataset]) -> NDArray[np.float64] | None:
    """Along the normal of the first; None unless all are parallel and say where they are."""
    try:
        places = np.array([[value_of(each, key) for key in PLACE] for each in headers], object)
        positions = np.array([list(place) for place in places[:, 0]], float)
        cosines = np.array([list(place) for place in places[:, 1]], float)
    except (TypeError, ValueError):
        return None
    if cosines.shape[1:] != (6,) or positions.shape[1:] != (3,):
        return None
    if np.abs(cosines - cosines[0]).max() > _SAME_PLACE_MM:
        return None
    return np.asarray(positions @ np.cross(cosines[0, :3], cosines[0, 3:]))


def _repeats(heights: NDArray[np.float64]) -> bool:
    return bool((np.diff(np.sort(heights)) < SPACING_TOLERANCE_MM).any())


def _resolve(groups: Sequence[Sequence[int]], heights: NDArray[np.float64]) -> bool:
    """Whether each group covers the same positions, once: one stack, acquired again."""
    if not 2 <= len(groups) <= MOST_STACKS or len({len(group) for group in groups}) > 1:
        return False
    covered = np.sort([heights[list(group)] for group in groups], axis=1)
    alike = np.abs(covered - covered[0]).max() < _SAME_PLACE_MM
    return bool(alike) and not any(_repeats(each) for each in covered)

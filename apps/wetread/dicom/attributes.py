"""The attributes that rules and models ask about, read from headers alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from wetread.dicom.opening import open_dataset, value_of
from wetread.dicom.stacks import KEYS, stacks_of
from wetread.errors import UnsupportedSeriesError
from wetread.study import ReceivedInstance, Series, Unusable

_DAYS_PER_YEAR = 365.25
_YEARS_PER_UNIT = {"D": 1 / _DAYS_PER_YEAR, "W": 7 / _DAYS_PER_YEAR, "M": 1 / 12, "Y": 1.0}
# Within 15 degrees of an axis a plane is called by that axis.
_NEARLY_ONE = float(np.cos(np.deg2rad(15)))
_PLANES = ("sagittal", "coronal", "axial")

_TEXT = ("Modality", "SeriesDescription", "BodyPartExamined", "Manufacturer", "ContrastBolusAgent")
_CHECKED = [
    *_TEXT,
    "SOPClassUID",
    "SOPInstanceUID",
    "SpecificCharacterSet",
    "StudyDescription",
    "SeriesNumber",
    "ImageType",
    "NumberOfFrames",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
]
_KEYWORDS = [
    *_CHECKED,
    *KEYS,
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True, slots=True)
class StudyAttributes:
    """What all series of a study share, with the series themselves."""

    series: tuple[Series, ...]
    study_description: str | None
    patient_age_years: float | Unusable | None


def read_study(
    instances: Iterable[ReceivedInstance], *, stack_by_stack: bool = False
) -> StudyAttributes:
    """Read the headers of a study's instances and group them into series, in order of arrival.

    With `stack_by_stack` each stack of a series is one by itself; what is no slice of any is in
    none. See `stacks`.

    Raises UnreadablePixelsError for a file that is no DICOM, InputError if it does not say what
    kind of image it is, StorageError if it cannot be read.
    """
    groups: dict[str, list[ReceivedInstance]] = {}
    for instance in instances:
        groups.setdefault(instance.series_instance_uid, []).append(instance)
    headers = {uid: [_header(each.path) for each in group] for uid, group in groups.items()}
    every = [header for group in headers.values() for header in group]
    split = _stacks if stack_by_stack else _whole
    return StudyAttributes(
        series=tuple(each for uid in groups for each in split(groups[uid], headers[uid])),
        study_description=_first_text(every, "StudyDescription"),
        patient_age_years=_age_years(every),
    )


def read_series(instances: Sequence[ReceivedInstance], stack: str = "") -> Series:
    """The series that the instances, all of one series, form, or that stack of it.

    Raises as `read_study`, and UnsupportedSeriesError if there is no such stack.
    """
    headers = [_header(instance.path) for instance in instances]
    found = {each.stack: each for each in _stacks(instances, headers)}
    if stack not in found:
        raise UnsupportedSeriesError(
            f"series {instances[0].series_instance_uid}: no stack {stack!r}; there: "
            f"{', '.join(found)}",
            hint="its files have changed; send the study again",
        )
    return found[stack]


def _whole(group: Sequence[ReceivedInstance], headers: Sequence[Dataset]) -> Iterator[Series]:
    yield _series(group, headers)


def _stacks(group: Sequence[ReceivedInstance], headers: Sequence[Dataset]) -> Iterator[Series]:
    for stack in stacks_of(headers):
        chosen = [group[at] for at in stack.indices]
        found = _series(chosen, [headers[at] for at in stack.indices])
        yield replace(found, stack=stack.name)


def _header(path: Path) -> Dataset:
    return open_dataset(path, _CHECKED, only=_KEYWORDS)


def _series(instances: Sequence[ReceivedInstance], headers: Sequence[Dataset]) -> Series:
    texts = {keyword: _first_text(headers, keyword) for keyword in _TEXT}
    number = _first_text(headers, "SeriesNumber")
    return Series(
        study_instance_uid=instances[0].study_instance_uid,
        series_instance_uid=instances[0].series_instance_uid,
        instances=tuple(instances),
        modality=texts["Modality"],
        sop_class_uids=tuple(dict.fromkeys(each.sop_class_uid for each in instances)),
        series_number=int(number) if number and re.fullmatch(r"[+-]?\d+", number) else None,
        series_description=texts["SeriesDescription"],
        body_part_examined=texts["BodyPartExamined"],
        manufacturer=texts["Manufacturer"],
        image_type=_image_type(headers),
        contrast_bolus_agent=texts["ContrastBolusAgent"],
        frames=_frames(headers),
        slice_spacing_mm=_slice_spacing_mm(headers),
        orientation=_orientation(headers),
    )


def _first_text(headers: Iterable[Dataset], keyword: str) -> str | None:
    texts = (str(header.get(keyword) or "").strip() for header in headers)
    return next((text for text in texts if text), None)


def _image_type(headers: Iterable[Dataset]) -> tuple[str, ...]:
    values: dict[str, None] = {}
    for header in headers:
        found = header.get("ImageType") or ()
        parts = [found] if isinstance(found, str) else found
        values.update(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))
    return tuple(values)


def _frames(headers: Iterable[Dataset]) -> int | None:
    counts = [header.get("NumberOfFrames") for header in headers]
    if all(count is None for count in counts):
        return None
    return sum(1 if count is None else int(count) for count in counts)


def _age_years(headers: Sequence[Dataset]) -> float | Unusable | None:
    """Patient's Age (PS3.5, VR AS), else the years between birth and study dates."""
    age = _first_text(headers, "PatientAge")
    if age is not None:
        found = re.fullmatch(r"(\d{1,3})([DWMY])", age)
        return int(found[1]) * _YEARS_PER_UNIT[found[2]] if found else Unusable("PatientAge", age)
    born, studied = (_date(headers, keyword) for keyword in ("PatientBirthDate", "StudyDate"))
    for value in (born, studied):
        if not isinstance(value, date):
            return value
    assert isinstance(born, date) and isinstance(studied, date)  # noqa: S101, PT018
    return (studied - born).days / _DAYS_PER_YEAR


def _date(headers: Sequence[Dataset], keyword: str) -> date | Unusable | None:
    text = _first_text(headers, keyword)
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007
    except ValueError:
        # The text is a patient's date: it is not repeated.
        return Unusable(keyword, "not a date")


def _placed(headers: Iterable[Dataset], keyword: str, group: str) -> Iterator[Any]:
    """The values of a plane attribute: of each image, or of each frame of an enhanced one."""
    for header in headers:
        for item in _holders(header, group):
            value = value_of(item, keyword)
            if value:
                yield value


def _holders(header: Dataset, group: str) -> Iterator[Dataset]:
    frames = _items(header, "PerFrameFunctionalGroupsSequence")
    if not frames:
        yield header
        return
    shared = _items(header, "SharedFunctionalGroupsSequence") or [Dataset()]
    for frame in frames:
        yield from _items(frame, group) or _items(shared[0], group)


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence; of one that cannot be parsed none, which loading refuses."""
    found = value_of(dataset, keyword)
    return () if found is None or isinstance(found, Unusable) else found


def _normal(headers: Sequence[Dataset]) -> np.ndarray | Unusable | None:
    found = next(_placed(headers, "ImageOrientationPatient", "PlaneOrientationSequence"), None)
    if found is None:
        return None
    cosines = _floats(found, 6)
    if cosines is None:
        return Unusable("ImageOrientationPatient", str(found))
    return np.cross(cosines[:3], cosines[3:])


def _floats(values: Any, count: int) -> np.ndarray | None:
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None


def _orientation(headers: Sequence[Dataset]) -> str | Unusable | None:
    normal = _normal(headers)
    if normal is None or isinstance(normal, Unusable):
        return normal
    axis = int(np.argmax(np.abs(normal)))
    return _PLANES[axis] if abs(normal[axis]) >= _NEARLY_ONE else "oblique"


def _slice_spacing_mm(headers: Sequence[Dataset]) -> float | Unusable | None:
    normal = _normal(headers)
    if normal is None or isinstance(normal, Unusable):
        return normal
    heights = []
    for found in _placed(headers, "ImagePositionPatient", "PlanePositionSequence"):
        position = _floats(found, 3)
        if position is None:
            return Unusable("ImagePositionPatient", str(found))
        heights.append(float(position @ normal))
    gaps = np.diff(np.unique(np.round(heights, 4)))
    return float(np.median(gaps)) if gaps.size else None

"""What is wanted of an archive: as identifiers of a query, and as a filter of its answers.

An archive may ignore an optional key (PS3.4 C.2.2.1.2) and answer with too much, so every match is
looked at again here; one that does not show that it fits does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from datetime import date

from pydicom import Dataset
from pydicom.multival import MultiValue

from wetread.errors import ConfigError
from wetread.route.rules import is_like

_STUDY_KEYS = ("StudyDate", "ModalitiesInStudy", "StudyDescription", "PatientID")
# PS3.5 6.2: LO has at most 64 characters, and no backslash.
_UID = re.compile(r"[0-9.]{1,64}")
_LONG_STRING = re.compile(r"[^\\\x00-\x1a\x1c-\x1f]{1,64}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions, all of which must hold; "" and None are no condition.

    Descriptions and the patient's id may have `*` and `?`. Modality and series description choose
    series within a study.
    """

    since: date | None = None
    until: date | None = None
    modality: str = ""
    study_description: str = ""
    series_description: str = ""
    patient_id: str = ""
    studies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ConfigError for what no archive can be asked."""
        if not self._names_studies:
            raise ConfigError(
                "no study is named: that would ask for everything that the archive has",
                hint="give --from, --to, --modality, --study-description, --patient-id or --study",
            )
        if self.since and self.until and self.since > self.until:
            raise ConfigError(
                f"from {self.since} to {self.until} is no time", hint="--from is the earlier day"
            )
        for option, text in (
            ("--modality", self.modality),
            ("--study-description", self.study_description),
            ("--series-description", self.series_description),
            ("--patient-id", self.patient_id),
        ):
            if text and not _LONG_STRING.fullmatch(text):
                raise ConfigError(
                    f"{option} is no value of DICOM",
                    hint="it has at most 64 characters, none of them a backslash",
                )
        for uid in self.studies:
            if not _UID.fullmatch(uid):
                raise ConfigError(f"--study {uid!r} is no UID", hint="digits and dots, at most 64")

    @property
    def _names_studies(self) -> bool:
        return bool(
            self.since or self.until or self.modality or self.study_description
            or self.patient_id or self.studies
        )  # fmt: skip

    @property
    def chooses_series(self) -> bool:
        """Whether a study may be wanted in part."""
        return bool(self.modality or self.series_description)

    def study_identifier(self) -> Dataset:
        """The query for studies (PS3.4 C.6.2.1.2)."""
        identifier = _identifier("STUDY")
        identifier.StudyInstanceUID = list(self.studies)
        identifier.StudyDate = _date_range(self.since, self.until)
        identifier.ModalitiesInStudy = self.modality
        identifier.StudyDescription = self.study_description
        identifier.PatientID = self.patient_id
        identifier.NumberOfStudyRelatedInstances = None
        return _in_its_character_set(identifier)

    def series_identifier(self, study: str) -> Dataset:
        """The query for the series of a study (PS3.4 C.6.2.1.3): all, since the rest is counted."""
        identifier = _identifier("SERIES")
        identifier.StudyInstanceUID = study
        identifier.SeriesInstanceUID = ""
        identifier.Modality = ""
        identifier.SeriesDescription = ""
        identifier.NumberOfSeriesRelatedInstances = None
        return identifier

    def has_study(self, match: Dataset) -> bool:
        """Whether a match for `study_identifier` shows that it is wanted."""
        day = _text(match, "StudyDate")
        modalities = _values(match, "ModalitiesInStudy")
        return (
            (not self.studies or _text(match, "StudyInstanceUID") in self.studies)
            and (not self.since or day >= f"{self.since:%Y%m%d}")
            and (not self.until or "" < day <= f"{self.until:%Y%m%d}")
            # Not every archive tells; its series do.
            and (not self.modality or not modalities or _one_of(self.modality, modalities))
            and _fits(self.study_description, _text(match, "StudyDescription"))
            and _fits(self.patient_id, _text(match, "PatientID"))
        )

    def has_series(self, match: Dataset) -> bool:
        """Whether a match for `series_identifier` shows that it is wanted."""
        return (not self.modality or _one_of(self.modality, [_text(match, "Modality")])) and _fits(
            self.series_description, _text(match, "SeriesDescription")
        )


def instance_identifier(study: str, series: str) -> Dataset:
    """The query for the instances of a series (PS3.4 C.6.2.1.4)."""
    identifier = _identifier("IMAGE")
    identifier.StudyInstanceUID = study
    identifier.SeriesInstanceUID = series
    identifier.SOPInstanceUID = ""
    return identifier


def study_move(study: str) -> Dataset:
    """What a C-MOVE of a whole study names (PS3.4 C.4.2.1.4)."""
    identifier = _identifier("STUDY")
    identifier.StudyInstanceUID = study
    return identifier


def series_move(study: str, series: str) -> Dataset:
    """What a C-MOVE of one series names."""
    identifier = _identifier("SERIES")
    identifier.StudyInstanceUID = study
    identifier.SeriesInstanceUID = series
    return identifier


def without_patient(identifier: Dataset) -> Dataset:
    """A query as the audit trail may have it."""
    shown = deepcopy(identifier)
    if shown.get("PatientID"):
        shown.PatientID = "withheld"
    return shown


def number_of(match: Dataset, keyword: str) -> int | None:
    """A number of related instances; None where the archive does not tell."""
    text = _text(match, keyword).strip()
    return int(text) if text.isdecimal() else None


def _identifier(level: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    return identifier


def _date_range(since: date | None, until: date | None) -> str:
    """Range matching (PS3.4 C.2.2.2.5)."""
    first, last = (f"{day:%Y%m%d}" if day else "" for day in (since, until))
    return first if first == last else f"{first}-{last}"


def _in_its_character_set(identifier: Dataset) -> Dataset:
    texts = (str(identifier.get(keyword) or "") for keyword in _STUDY_KEYS)
    if not all(text.isascii() for text in texts):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def _text(match: Dataset, keyword: str) -> str:
    return "" if match.get(keyword) is None else str(match.get(keyword))


def _values(match: Dataset, keyword: str) -> list[str]:
    value = match.get(keyword)
    values = value if isinstance(value, MultiValue) else [value]
    return [str(each) for each in values if each]


def _one_of(wanted: str, seen: Iterable[str]) -> bool:
    return wanted.upper() in {each.upper() for each in seen}


def _fits(pattern: str, seen: str) -> bool:
    return not pattern or is_like(seen, [pattern])

"""A query asks for what is wanted; what does not fit is left out, whatever the archive answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset

from wetread.dicom.retrieve import encoded_identifier, retrieve_status
from wetread.errors import ConfigError
from wetread.pull.pull import Found, limited, within_hours
from wetread.pull.query import Wanted, without_patient

SPRING = {"since": date(2024, 1, 1), "until": date(2024, 3, 31)}


def match(**values: Any) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


@pytest.mark.parametrize(
    ("since", "until", "asked"),
    [
        (date(2024, 1, 1), date(2024, 3, 31), "20240101-20240331"),
        (date(2024, 1, 1), None, "20240101-"),
        (None, date(2024, 3, 31), "-20240331"),
        (date(2024, 1, 1), date(2024, 1, 1), "20240101"),
    ],
)
def test_days_are_asked_for_as_a_range(since: date | None, until: date | None, asked: str) -> None:
    assert Wanted(since=since, until=until).study_identifier().StudyDate == asked


def test_a_query_has_every_key_at_its_level() -> None:
    identifier = Wanted(modality="MR", study_description="*HEAD*").study_identifier()
    assert identifier.QueryRetrieveLevel == "STUDY"
    assert (identifier.ModalitiesInStudy, identifier.StudyDescription) == ("MR", "*HEAD*")
    assert "SpecificCharacterSet" not in identifier
    # Return keys are asked for by being empty.
    assert identifier["NumberOfStudyRelatedInstances"].is_empty
    assert identifier["StudyDate"].is_empty


def test_letters_beyond_ascii_go_out_as_utf8() -> None:
    identifier = Wanted(study_description="Schädel*").study_identifier()
    content = encoded_identifier(identifier)
    assert "Schädel*".encode() in content
    read = read_dataset(DicomBytesIO(content), is_implicit_VR=False, is_little_endian=True)
    assert (read.SpecificCharacterSet, read.StudyDescription) == ("ISO_IR 192", "Schädel*")


@pytest.mark.parametrize(
    ("wanted", "answered", "fits"),
    [
        (SPRING, {"StudyDate": "20240101"}, True),
        (SPRING, {"StudyDate": "20240331"}, True),
        (SPRING, {"StudyDate": "20231231"}, False),
        (SPRING, {"StudyDate": "20240401"}, False),
        (SPRING, {}, False),
        ({"until": date(2024, 3, 31)}, {"StudyDate": ""}, False),
        ({"modality": "MR"}, {"ModalitiesInStudy": ["CT", "MR"]}, True),
        ({"modality": "MR"}, {"ModalitiesInStudy": "MR"}, True),
        ({"modality": "MR"}, {"ModalitiesInStudy": "CT"}, False),
        # Its series will tell.
        ({"modality": "MR"}, {}, True),
        ({"study_description": "*HEAD*"}, {"StudyDescription": "CT Head native"}, True),
        ({"study_description": "HEAD"}, {"StudyDescription": "CT Head native"}, False),
        ({"study_description": "*[A]*"}, {"StudyDescription": "A"}, False),
        ({"study_description": "*HEAD*"}, {}, False),
        ({"patient_id": "12?"}, {"PatientID": "123"}, True),
        ({"patient_id": "12"}, {"PatientID": "123"}, False),
        ({"studies": ("1.2.3",)}, {"StudyInstanceUID": "1.2.3"}, True),
        ({"studies": ("1.2.3",)}, {"StudyInstanceUID": "1.2.4"}, False),
    ],
)
def test_an_answer_is_looked_at_again(
    wanted: dict[str, Any], answered: dict[str, Any], fits: bool
) -> None:
    assert Wanted(**wanted).has_study(match(**answered)) is fits


def test_modality_and_description_choose_series() -> None:
    wanted = Wanted(modality="MR", series_description="*T1*")
    assert wanted.has_series(match(Modality="MR", SeriesDescription="ax t1 tse"))
    assert not wanted.has_series(match(Modality="SR", SeriesDescription="ax t1 tse"))
    assert not wanted.has_series(match(Modality="MR", SeriesDescription="ax t2"))
    assert not wanted.has_series(match(Modality="MR"))


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.dates(date(1990, 1, 1), date(2030, 1, 1)))
def test_a_day_fits_if_it_is_in_the_range(day: date, since: date) -> None:
    wanted = Wanted(since=since)
    assert wanted.has_study(match(StudyDate=f"{day:%Y%m%d}")) == (day >= since)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({}, "no study is named"),
        ({"series_description": "*"}, "no study is named"),
        ({"since": date(2024, 2, 1), "until": date(2024, 1, 1)}, "is no time"),
        ({"study_description": "A\\B"}, "--study-description is no value"),
        ({"patient_id": "1" * 65}, "--patient-id is no value"),
        ({"studies": ("1.2.x",)}, "'1.2.x' is no UID"),
    ],
)
def test_what_no_archive_can_be_asked_is_refused(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Wanted(**wanted)


def test_the_audit_trail_gets_no_patient() -> None:
    identifier = Wanted(patient_id="4711", modality="MR").study_identifier()
    assert b"4711" not in encoded_identifier(without_patient(identifier))
    assert identifier.PatientID == "4711"


@pytest.mark.parametrize(
    ("status", "meaning", "hint"),
    [
        (0xA700, "out of resources", "ask for less"),
        (0xA702, "unable to perform sub-operations", "gateway runs"),
        (0xA801, "move destination unknown", "tell the archive the AE title"),
        (0xA900, "does not match SOP class", "leave it out"),
        (0xC001, "unable to process", "log"),
        (0x1234, "unknown status", "log"),
    ],
)
def test_a_status_is_said_in_words(status: int, meaning: str, hint: str) -> None:
    words, what_to_do = retrieve_status(status)
    assert meaning in words
    assert hint in what_to_do


@pytest.mark.parametrize(
    ("hours", "clock", "within"),
    [
        ("", "12:00", True),
        ("20:00-06:00", "19:59", False),
        ("20:00-06:00", "20:00", True),
        ("20:00-06:00", "00:30", True),
        ("20:00-06:00", "06:00", False),
        ("08:00-12:00", "11:59", True),
        ("08:00-12:00", "12:00", False),
    ],
)
def test_hours_may_go_over_midnight(hours: str, clock: str, within: bool) -> None:
    assert within_hours(hours, datetime.fromisoformat(f"2024-01-01T{clock}")) is within


def test_a_limit_counts_only_what_is_missing() -> None:
    studies = [
        Found(f"1.{n}", "", "", {"1": 2}, True, here) for n, here in enumerate((2, 0, 2, 1, 0))
    ]
    assert [each.study_instance_uid for each in limited(studies, 2)] == ["1.0", "1.1", "1.2", "1.3"]
    with pytest.raises(ConfigError, match="--limit 0"):
        limited(studies, 0)

"""A report as an HL7 v2.5.1 message ORU^R01, unsolicited observations (HL7 v2.5.1 7.3.1).

The content items of the report become OBX segments one by one, under their own codes. OBX-4 is
GROUP.ITEM, so that no two are alike and those of one group stay together.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from pydicom.sr.coding import Code

from wetread.config import Hl7Destination
from wetread.deliver.statements import (
    FINDING,
    FINDING_SITE,
    PRELIMINARY,
    TRACKING_IDENTIFIER,
    Patient,
    Report,
    Statement,
)
from wetread.dicom import terms

_ESCAPES = {"\\": "E", "|": "F", "^": "S", "&": "T", "~": "R"}
_STUDY = Code("113014", "DCM", "Study")
_REPORT = terms.IMAGING_MEASUREMENT_REPORT
_ACCESSION_NUMBER = Code("121022", "DCM", "Accession Number")
# HL7 table 0465: which of a name's spellings it is, in the order of DICOM's component groups.
_SPELLINGS = "AIP"


def control_id(report: Report) -> str:
    """MSH-10 (at most 20 characters): the same whenever this report is sent."""
    digest = hashlib.sha256(report.sop_instance_uid.encode()).digest()
    return base64.b32encode(digest).decode()[:20]


def message_of(report: Report, to: Hl7Destination) -> str:
    """The message; segments end with a carriage return, and no byte depends on the clock."""
    status = "C" if report.is_correction else "P"
    segments = [
        _header(report, to),
        _patient(report.patient),
        _request(report, status),
        *(
            _segment("NTE", str(number), "L", _escaped(text))
            for number, text in enumerate((PRELIMINARY, *report.comments), 1)
        ),
    ]
    # A report without a positive finding says nothing of priority: it must never lower one.
    if report.is_positive and to.positive_priority:
        segments.append(_segment("TQ1", "1", *[""] * 7, to.positive_priority))
    segments += _observations(report, status)
    return "".join(f"{each}\r" for each in segments)


def _header(report: Report, to: Hl7Destination) -> str:
    sender = _escaped(to.sending_application), _escaped(to.sending_facility)
    receiver = _escaped(to.receiving_application), _escaped(to.receiving_facility)
    kind = "ORU^R01^ORU_R01"
    fields = ["^~\\&", *sender, *receiver, _written(report), "", kind, control_id(report)]
    return _segment("MSH", *fields, to.processing_id, "2.5.1", *[""] * 5, "UNICODE UTF-8")


def _patient(patient: Patient) -> str:
    identifier = _parts(patient.identifier, "", "", patient.issuer)
    sex = patient.sex if patient.sex in ("M", "F", "O") else "U"
    return _segment(
        "PID", "1", "", identifier, "", _name(patient), "", _moment(patient.birth_date), sex
    )


def _name(patient: Patient) -> str:
    """XPN, one repetition for each spelling (PS3.5 6.2.1.1); prefix and suffix change places."""
    if patient.name is None:
        return ""
    name = patient.name
    spelled = []
    groups = (name.alphabetic, name.ideographic, name.phonetic)
    for code, group in zip(_SPELLINGS, groups, strict=True):
        if group:
            family, given, middle, prefix, suffix = [*group.split("^"), *[""] * 5][:5]
            spelled.append(_parts(family, given, middle, suffix, prefix, "", "", code))
    return "~".join(spelled)


def _request(report: Report, status: str) -> str:
    fields = [""] * 25
    fields[0] = "1"
    fields[2] = _parts(report.reading_uid, "WETREAD")
    fields[3] = _coded(report.procedure)
    fields[6] = _moment(report.study_date + report.study_time, report.offset)
    # IHE RAD TF-2 4.4: the accession number.
    fields[17] = _escaped(report.accession_number)
    fields[21] = _written(report)
    fields[23], fields[24] = "RAD", status
    return _segment("OBR", *fields)


@dataclass(frozen=True, slots=True)
class _Observation:
    """One OBX: its value type (table 0125), what it is about, and the value, escaped."""

    kind: str
    name: Code
    place: str
    value: str
    unit: str = ""
    flag: str = ""
    method: str = ""


def _observations(report: Report, status: str) -> Iterator[str]:
    equipment = _parts(report.station_name, "WETREAD", report.device_uid, "ISO")
    for number, each in enumerate(_about(report), 1):
        fields = [str(number), each.kind, _coded(each.name), each.place, each.value, each.unit]
        fields += ["", each.flag, "", "", status, "", "", _written(report), "", "", each.method]
        yield _segment("OBX", *fields, equipment)


def _about(report: Report) -> Iterator[_Observation]:
    yield _Observation("HD", _STUDY, "0.1", _parts("", report.study_instance_uid, "ISO"))
    yield _Observation("HD", _REPORT, "0.2", _parts("", report.sop_instance_uid, "ISO"))
    if report.accession_number:
        number = _escaped(report.accession_number)
        yield _Observation("ST", _ACCESSION_NUMBER, "0.3", number)
    for group, statement in enumerate(report.statements, 1):
        yield from _of_statement(statement, group)


def _of_statement(statement: Statement, group: int) -> Iterator[_Observation]:
    flag = "A" if statement.present else ""
    places = (f"{group}.{item}" for item in count(1))
    label = _escaped(statement.label)
    yield _Observation("ST", TRACKING_IDENTIFIER, next(places), label)
    yield _Observation("CE", FINDING, next(places), _coded(statement.finding), flag=flag)
    if statement.site is not None:
        yield _Observation("CE", FINDING_SITE, next(places), _coded(statement.site))
    if statement.present is not None:
        presence = _coded(terms.PRESENT if statement.present else terms.ABSENT)
        name = terms.PRESENCE_OF_PROPERTY
        yield _Observation("CE", name, next(places), presence, flag=flag)
    for each in statement.measured:
        method = "" if each.derivation is None else _coded(each.derivation)
        unit = _coded(each.unit)
        yield _Observation("NM", each.name, next(places), each.value, unit, method=method)


def _segment(*fields: str) -> str:
    return "|".join(fields).rstrip("|")


def _coded(code: Code) -> str:
    return _parts(code.value, code.meaning, code.scheme_designator)


def _parts(*components: str) -> str:
    return "^".join(map(_escaped, components)).rstrip("^")


def _escaped(text: str) -> str:
    """Delimiters as HL7 v2.5.1 2.7.4 has them; no control character may end a segment or more."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    return "".join(f"\\{_ESCAPES[each]}\\" if each in _ESCAPES else each for each in plain)


def _written(report: Report) -> str:
    return _moment(report.written, report.offset)


def _moment(text: str, offset: str = "") -> str:
    """A time stamp, empty for what is none."""
    if not text.isdecimal():
        return ""
    return text + (offset if offset[1:].isdecimal() and len(offset) == 5 else "")

"""What a Structured Report of ours states, in plain facts for destinations that take no DICOM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import PersonName

from wetread.dicom import terms
from wetread.dicom.opening import open_dataset
from wetread.dicom.sr import COMPREHENSIVE_3D_SR
from wetread.errors import InputError, MissingAttributeError
from wetread.uids import derived_uid

PRELIMINARY = "Preliminary result of a program, not for diagnostic use"
FINDING = Code("121071", "DCM", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
_MEASUREMENT_GROUP = "125007"
_TRACKING_UID, _DERIVATION = "112040", "121401"
_ALGORITHM_NAME, _ALGORITHM_VERSION, _PARAMETERS = "111001", "111003", "111002"
_PROCEDURE, _COMMENT = "121058", terms.COMMENT.value


@dataclass(frozen=True, slots=True)
class Measured:
    """One number as it stands in the report, with its unit."""

    name: Code
    value: str
    unit: Code
    derivation: Code | None


@dataclass(frozen=True, slots=True)
class Statement:
    """One measurement group. `present` is None where the report only measures."""

    tracking_uid: str
    label: str
    finding: Code
    site: Code | None
    present: bool | None
    measured: tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class EvidenceSeries:
    """A series that the report refers to: its instances as (SOP class, SOP instance)."""

    series_instance_uid: str
    instances: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Patient:
    """Who it is about, as the images said it."""

    identifier: str
    issuer: str
    name: PersonName | None
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a message says.

    `reading_uid` names what one model says about one series: a correction has the same.
    `written` is date and time as DICOM writes them, `offset` the zone as +HHMM, or "" if unknown.
    """

    sop_instance_uid: str
    study_instance_uid: str
    reading_uid: str
    accession_number: str
    study_date: str
    study_time: str
    written: str
    offset: str
    is_correction: bool
    procedure: Code
    patient: Patient
    model: str
    model_version: str
    weights_sha256: str
    device_uid: str
    station_name: str
    comments: tuple[str, ...]
    series: tuple[EvidenceSeries, ...]
    statements: tuple[Statement, ...]

    @property
    def is_positive(self) -> bool:
        """Whether it says of anything that it is present."""
        return any(each.present for each in self.statements)


def read_report(path: Path) -> Report:
    """Read a report that wetread wrote.

    Raises MissingAttributeError if it does not say which patient it is about, InputError if it is
    no such report, StorageError if the file cannot be read.
    """
    dataset = open_dataset(path, ())
    if dataset.get("SOPClassUID") != COMPREHENSIVE_3D_SR:
        raise InputError(
            f"{path.name} is no Comprehensive 3D SR", hint='a message takes send = ["SR"] only'
        )
    if not str(dataset.get("PatientID") or "").strip():
        raise MissingAttributeError(
            f"report {dataset.SOPInstanceUID} has no Patient ID: no message could say whose it is",
            hint="let the modality fill in (0010,0020), by its worklist",
        )
    return _report(dataset)


def _report(dataset: Dataset) -> Report:
    groups = [each for each in _below(dataset) if _code_value(each) == _MEASUREMENT_GROUP]
    series = tuple(_evidence(dataset))
    model = _text_of(dataset, _ALGORITHM_NAME)
    comments = [str(each.TextValue) for each in _below(dataset) if _code_value(each) == _COMMENT]
    return Report(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        reading_uid=derived_uid("reading", series[0].series_instance_uid, model),
        accession_number=_stripped(dataset, "AccessionNumber"),
        study_date=_stripped(dataset, "StudyDate"),
        study_time=_stripped(dataset, "StudyTime").split(".")[0],
        written=str(dataset.ContentDate) + str(dataset.ContentTime).split(".")[0],
        offset=_stripped(dataset, "TimezoneOffsetFromUTC"),
        is_correction="PredecessorDocumentsSequence" in dataset,
        procedure=_coded(dataset, _PROCEDURE) or terms.IMAGING_MEASUREMENT_REPORT,
        patient=_patient(dataset),
        model=model,
        model_version=_text_of(dataset, _ALGORITHM_VERSION),
        weights_sha256=_text_of(dataset, _PARAMETERS).removeprefix("weights_sha256="),
        device_uid=_stripped(dataset, "DeviceSerialNumber"),
        station_name=_stripped(dataset, "StationName"),
        comments=tuple(comments),
        series=series,
        statements=tuple(map(_statement, groups)),
    )


def _patient(dataset: Dataset) -> Patient:
    return Patient(
        identifier=_stripped(dataset, "PatientID"),
        issuer=_stripped(dataset, "IssuerOfPatientID"),
        name=dataset.get("PatientName") or None,
        birth_date=_stripped(dataset, "PatientBirthDate"),
        sex=_stripped(dataset, "PatientSex"),
    )


def _statement(group: Dataset) -> Statement:
    presence = _coded(group, terms.PRESENCE_OF_PROPERTY.value)
    numbers = [each for each in group.ContentSequence if each.ValueType == "NUM"]
    return Statement(
        tracking_uid=next(
            str(each.UID) for each in group.ContentSequence if _code_value(each) == _TRACKING_UID
        ),
        label=_text_of(group, TRACKING_IDENTIFIER.value),
        finding=_coded(group, FINDING.value) or FINDING,
        site=_coded(group, FINDING_SITE.value),
        present=None if presence is None else presence.value == terms.PRESENT.value,
        measured=tuple(map(_measured, numbers)),
    )


def _measured(item: Dataset) -> Measured:
    value = item.MeasuredValueSequence[0]
    return Measured(
        name=_code(item.ConceptNameCodeSequence[0]),
        value=str(value.NumericValue),
        unit=_code(value.MeasurementUnitsCodeSequence[0]),
        derivation=_coded(item, _DERIVATION),
    )


def _evidence(dataset: Dataset) -> Iterator[EvidenceSeries]:
    for study in dataset.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            instances = tuple(
                (str(each.ReferencedSOPClassUID), str(each.ReferencedSOPInstanceUID))
                for each in series.ReferencedSOPSequence
            )
            yield EvidenceSeries(str(series.SeriesInstanceUID), instances)


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from _below(child)


def _code_value(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _coded(item: Dataset, concept: str) -> Code | None:
    for each in _below(item):
        if _code_value(each) == concept and each.ValueType == "CODE":
            return _code(each.ConceptCodeSequence[0])
    return None


def _code(item: Dataset) -> Code:
    return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))


def _text_of(item: Dataset, concept: str) -> str:
    found = (str(each.TextValue) for each in _below(item) if _code_value(each) == concept)
    return next(found, "")


def _stripped(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()

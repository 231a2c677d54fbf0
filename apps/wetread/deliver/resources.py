"""A report as FHIR R4 resources, in one transaction (FHIR 4.0.1, 3.1.0.11).

Study and device are made only if they are not there. Observations and DiagnosticReport have an
identifier of this model on this series, and take the place of those that have it: a report that is
sent again changes nothing, a newer one replaces its predecessor.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from pydicom.sr.coding import Code

from wetread.config import FhirDestination
from wetread.deliver.statements import PRELIMINARY, EvidenceSeries, Measured, Report, Statement
from wetread.dicom import terms
from wetread.uids import derived_uid

Resource = dict[str, Any]
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": _DCM,
    "UCUM": "http://unitsofmeasure.org",
    "UMLS": "http://terminology.hl7.org/CodeSystem/umls",
    "RADLEX": "http://radlex.org",
}
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_URI = "urn:ietf:rfc:3986"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_MODALITIES = {
    "2": "CT", "2.1": "CT", "4": "MR", "4.1": "MR", "1": "CR", "1.1": "DX", "1.1.1": "DX",
    "66.4": "SEG",
}  # fmt: skip


def transaction_of(report: Report, to: FhirDestination) -> Resource:
    """The Bundle; no byte of it depends on the clock."""
    subject = _subject(report, to)
    device_uid = derived_uid(
        "device", report.device_uid, report.model, report.model_version, report.weights_sha256
    )
    study, device = _full_url(report.study_instance_uid), _full_url(device_uid)
    common = {
        "status": "preliminary",
        "category": [_concept(f"{_TERMINOLOGY}/observation-category", "imaging")],
        "subject": subject,
        **_when(report),
        "derivedFrom": [{"reference": study}],
        "device": {"reference": device},
        "note": [{"text": PRELIMINARY}],
    }
    observations = list(_observations(report, common))
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            _made(study, _study(report, subject)),
            _made(device, _device(report, device_uid)),
            *(_put(each) for each in observations),
            _put(_report(report, subject, study, observations)),
        ],
    }


def _observations(report: Report, common: Resource) -> Iterator[Resource]:
    for group, statement in enumerate(report.statements, 1):
        members = [
            _number(report, common, statement, measured, f"{group}.{item}")
            for item, measured in enumerate(statement.measured, 1)
        ]
        yield from members
        yield _finding(report, common, statement, str(group), members)


def _finding(
    report: Report, common: Resource, statement: Statement, place: str, members: list[Resource]
) -> Resource:
    found: Resource = {
        "resourceType": "Observation",
        "identifier": [_own(report, place), _identifier(_URI, _oid(statement.tracking_uid))],
        **common,
        "code": {**_coded(statement.finding), "text": statement.label},
        **_site(statement),
        "hasMember": [{"reference": _url_of(each)} for each in members],
    }
    if statement.present is not None:
        presence = terms.PRESENT if statement.present else terms.ABSENT
        code = "POS" if statement.present else "NEG"
        found["valueCodeableConcept"] = _coded(presence)
        found["interpretation"] = [_concept(f"{_TERMINOLOGY}/v3-ObservationInterpretation", code)]
    return found


def _number(
    report: Report, common: Resource, statement: Statement, measured: Measured, place: str
) -> Resource:
    found: Resource = {
        "resourceType": "Observation",
        "identifier": [_own(report, place)],
        **common,
        # Read alone, a number must still say of what it is.
        "code": {**_coded(measured.name), "text": f"{measured.name.meaning}: {statement.label}"},
        **_site(statement),
        "valueQuantity": {
            "value": float(measured.value),
            "unit": measured.unit.meaning,
            "system": _SYSTEMS["UCUM"],
            "code": measured.unit.value,
        },
    }
    if measured.derivation is not None:
        found["method"] = _coded(measured.derivation)
    return found


def _report(
    report: Report, subject: Resource, study: str, observations: list[Resource]
) -> Resource:
    found: Resource = {
        "resourceType": "DiagnosticReport",
        "identifier": [
            _own(report, "report"),
            _identifier("urn:dicom:uid", _oid(report.sop_instance_uid)),
        ],
        "status": "preliminary",
        "category": [_concept(f"{_TERMINOLOGY}/v2-0074", "RAD")],
        "code": _coded(terms.IMAGING_MEASUREMENT_REPORT),
        "subject": subject,
        **_when(report),
        "imagingStudy": [{"reference": study}],
        "result": [{"reference": _url_of(each)} for each in observations],
        "conclusion": ". ".join((PRELIMINARY, *report.comments)),
    }
    if report.accession_number:
        found["basedOn"] = [{"type": "ServiceRequest", "identifier": _accession(report)}]
    return found


def _study(report: Report, subject: Resource) -> Resource:
    found: Resource = {
        "resourceType": "ImagingStudy",
        "identifier": [_identifier("urn:dicom:uid", _oid(report.study_instance_uid))],
        "status": "available",
        "subject": subject,
        "series": [_series(each) for each in report.series],
    }
    if report.accession_number:
        found["identifier"].append(_accession(report))
    started = _when(report).get("effectiveDateTime")
    return {**found, "started": started} if started else found


def _series(series: EvidenceSeries) -> Resource:
    kind = series.instances[0][0].removeprefix(_STORAGE)
    return {
        "uid": series.series_instance_uid,
        "modality": {"system": _DCM, "code": _MODALITIES.get(kind, "OT")},
        "numberOfInstances": len(series.instances),
        "instance": [
            {"uid": uid, "sopClass": {"system": _URI, "code": _oid(sop_class)}}
            for sop_class, uid in series.instances
        ],
    }


def _device(report: Report, uid: str) -> Resource:
    return {
        "resourceType": "Device",
        "identifier": [_identifier(_URI, _oid(uid))],
        "status": "active",
        "manufacturer": "wetread",
        "serialNumber": report.device_uid,
        "deviceName": [{"name": report.model, "type": "model-name"}],
        "version": [
            {"type": {"text": "model"}, "value": report.model_version},
            {"type": {"text": "weights SHA-256"}, "value": report.weights_sha256},
        ],
    }


def _subject(report: Report, to: FhirDestination) -> Resource:
    patient = report.patient
    if to.resolve_patient:
        value = re.sub(r"([\\$,|])", r"\\\1", patient.identifier)
        query = quote(f"{to.patient_system}|{value}", safe=":/")
        return {"reference": f"Patient?identifier={query}"}
    identifier: Resource = {"value": patient.identifier}
    if to.patient_system:
        identifier["system"] = to.patient_system
    if patient.issuer:
        identifier["assigner"] = {"display": patient.issuer}
    return {"type": "Patient", "identifier": identifier}


def _when(report: Report) -> Resource:
    """When the images were made: a day where the zone is unknown, which a time needs."""
    date, time, offset = report.study_date, report.study_time, report.offset
    if not re.fullmatch(r"\d{8}", date):
        return {}
    day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if not (re.fullmatch(r"\d{6}", time) and re.fullmatch(r"[+-]\d{4}", offset)):
        return {"effectiveDateTime": day}
    clock = f"{time[:2]}:{time[2:4]}:{time[4:]}"
    return {"effectiveDateTime": f"{day}T{clock}{offset[:3]}:{offset[3:]}"}


def _made(full_url: str, resource: Resource) -> Resource:
    """It is made, unless it is there."""
    kind = resource["resourceType"]
    request = {"method": "POST", "url": kind, "ifNoneExist": _query(resource)}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def _put(resource: Resource) -> Resource:
    """It takes the place of what is there, or is made."""
    request = {"method": "PUT", "url": f"{resource['resourceType']}?{_query(resource)}"}
    return {"fullUrl": _url_of(resource), "resource": resource, "request": request}


def _query(resource: Resource) -> str:
    own = resource["identifier"][0]
    return "identifier=" + quote(f"{own['system']}|{own['value']}", safe=":/")


def _own(report: Report, place: str) -> Resource:
    return _identifier(_URI, _oid(derived_uid("statement", report.reading_uid, place)))


def _url_of(resource: Resource) -> str:
    return _full_url(resource["identifier"][0]["value"])


def _full_url(uid: str) -> str:
    """A name for within the Bundle."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, uid)}"


def _accession(report: Report) -> Resource:
    kind = _concept(f"{_TERMINOLOGY}/v2-0203", "ACSN")
    return {"type": kind, "value": report.accession_number}


def _site(statement: Statement) -> Resource:
    return {} if statement.site is None else {"bodySite": _coded(statement.site)}


def _identifier(system: str, value: str) -> Resource:
    return {"system": system, "value": value}


def _oid(uid: str) -> str:
    return f"urn:oid:{uid}"


def _concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def _coded(code: Code) -> Resource:
    """A code of a scheme that FHIR has no name for goes out as its words alone."""
    system = _SYSTEMS.get(code.scheme_designator)
    if system is None:
        return {"text": code.meaning}
    return {"coding": [{"system": system, "code": code.value, "display": code.meaning}]}

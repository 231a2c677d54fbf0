"""FHIR transactions, judged by the R4 models of fhir.resources, at a server that is strict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset

from network.fhir_server import FhirStore
from network.neighbours import free_port, http_serving
from reports import PATIENT_VALUES, findings_bytes, volume_bytes, write_report
from wetread.config import FhirDestination
from wetread.deliver.base import Destination
from wetread.deliver.registry import open_destination
from wetread.errors import DeliveryError, DestinationUnavailableError

SYSTEM = "urn:oid:1.2.3.4.5"


@pytest.fixture(scope="module")
def url_and_store() -> Iterator[tuple[str, FhirStore]]:
    store = FhirStore()
    with http_serving(store.app) as url:
        yield f"{url}/r4", store


@pytest.fixture
def store(url_and_store: tuple[str, FhirStore]) -> FhirStore:
    """The server, with nothing in it."""
    store = url_and_store[1]
    store.kept, store.versions = {}, {}
    store.version, store.fails_with, store.token = "4.0.1", 0, ""
    return store


@pytest.fixture
def url(url_and_store: tuple[str, FhirStore]) -> str:
    return url_and_store[0]


def server(url: str, **settings: object) -> Destination:
    document = {"kind": "fhir", "url": url, "timeout_seconds": 10, **settings}
    return open_destination("fhir", FhirDestination.model_validate(document))


def codes(concept: dict[str, list[dict[str, str]]]) -> list[str]:
    return [each["code"] for each in concept["coding"]]


def test_findings_arrive_with_their_interpretation(
    url: str, store: FhirStore, tmp_path: Path
) -> None:
    path = write_report(tmp_path)
    receipt = server(url).send(path)
    assert (receipt.sop_instance_uid, receipt.answer) == (path.stem, "HTTP 200: 9 resources")
    said = {
        each["code"]["text"]: (codes(each["code"]), codes(each["interpretation"][0]))
        for each in store.of("Observation")
        if "interpretation" in each
    }
    assert said == {
        "Pneumonia": (["233604007"], ["POS"]),
        "Pleural effusion": (["60046008"], ["NEG"]),
    }
    numbers = {
        each["code"]["text"]: (each["valueQuantity"]["value"], each["valueQuantity"]["code"])
        for each in store.of("Observation")
        if "valueQuantity" in each
    }
    assert numbers["Probability: Pneumonia"] == (87.0, "%")
    assert numbers["Probability: Pleural effusion"] == (12.0, "%")


def test_a_segment_is_measured_in_ucum_units_and_not_judged(
    url: str, store: FhirStore, tmp_path: Path
) -> None:
    server(url).send(write_report(tmp_path, volume_bytes()))
    found = store.of("Observation")
    units = [each["valueQuantity"]["code"] for each in found if "valueQuantity" in each]
    assert units == ["ml", "[hnsf'U]", "[hnsf'U]"]
    methods = [codes(each["method"]) for each in found if "method" in each]
    assert methods == [["373098007"], ["386136009"]]
    assert not [each for each in found if "interpretation" in each]


def test_everything_is_preliminary_and_refers_to_the_study(
    url: str, store: FhirStore, tmp_path: Path
) -> None:
    path = write_report(tmp_path, volume_bytes())
    server(url).send(path)
    (study,), (report,), (device,) = (
        store.of(kind) for kind in ("ImagingStudy", "DiagnosticReport", "Device")
    )
    assert {each["status"] for each in [report, *store.of("Observation")]} == {"preliminary"}
    assert "not for diagnostic use" in report["conclusion"]
    assert [each["modality"]["code"] for each in study["series"]] == ["CT", "SEG"]
    (place,) = [key for key in store.kept if key.startswith("ImagingStudy/")]
    assert report["imagingStudy"] == [{"reference": place}]
    assert all(each["derivedFrom"] == report["imagingStudy"] for each in store.of("Observation"))
    assert len(report["result"]) == len(store.of("Observation")) == 4
    assert [each["value"] for each in device["version"]] == ["1.2.0", "ab" * 32]
    assert study["identifier"][1]["value"] == "ACC^42"


def test_sent_again_it_makes_nothing_twice(url: str, store: FhirStore, tmp_path: Path) -> None:
    path = write_report(tmp_path)
    server(url).send(path)
    before = dict(store.kept)
    server(url).send(path)
    assert store.kept == before


def test_a_correction_takes_the_place_of_what_it_corrects(
    url: str, store: FhirStore, tmp_path: Path
) -> None:
    first = write_report(tmp_path)
    server(url).send(first)
    before = set(store.kept)
    second = write_report(tmp_path, findings_bytes(corrects=True))
    server(url).send(second)
    assert set(store.kept) == before
    (report,) = store.of("DiagnosticReport")
    assert report["identifier"][1]["value"] == f"urn:oid:{second.stem}"
    # The archive's own resource of the study is never written over.
    assert {store.versions[key] for key in before if key.startswith("ImagingStudy")} == {1}


def test_the_patient_is_an_identifier_and_nothing_else(
    url: str, store: FhirStore, tmp_path: Path
) -> None:
    server(url, patient_system=SYSTEM).send(write_report(tmp_path))
    identifier = {"system": SYSTEM, "value": "PAT|7", "assigner": {"display": "HOSP&1"}}
    subjects = [each["subject"] for each in store.kept.values() if "subject" in each]
    assert subjects == [{"type": "Patient", "identifier": identifier}] * 8
    assert "Sørensen" not in str(store.kept)
    assert store.of("Patient") == []


@pytest.mark.parametrize(("count", "issue"), [(0, "not-found"), (2, "multiple-matches")])
def test_a_patient_that_is_not_one_there_gets_nothing(
    url: str, store: FhirStore, tmp_path: Path, count: int, issue: str
) -> None:
    to = server(url, patient_system=SYSTEM, resolve_patient=True)
    for number in range(count):
        store.kept[f"Patient/{number}"] = {"identifier": [{"system": SYSTEM, "value": "PAT|7"}]}
    before = dict(store.kept)
    with pytest.raises(DeliveryError, match=issue) as caught:
        to.send(write_report(tmp_path))
    assert not caught.value.retryable
    assert store.kept == before


def test_a_patient_who_is_there_is_referred_to(url: str, store: FhirStore, tmp_path: Path) -> None:
    store.kept["Patient/1"] = {"identifier": [{"system": SYSTEM, "value": "PAT|7"}]}
    server(url, patient_system=SYSTEM, resolve_patient=True).send(write_report(tmp_path))
    (report,) = store.of("DiagnosticReport")
    assert report["subject"] == {"reference": "Patient/1"}


@pytest.mark.parametrize(
    ("offset", "when"),
    [("", "2025-03-04"), ("+0100", "2025-03-04T10:11:12+01:00"), ("nonsense", "2025-03-04")],
)
def test_a_time_without_its_zone_is_a_day(
    url: str, store: FhirStore, tmp_path: Path, offset: str, when: str
) -> None:
    def change(report: Dataset) -> None:
        report.TimezoneOffsetFromUTC = offset

    server(url).send(write_report(tmp_path, change=change))
    assert store.of("ImagingStudy")[0]["started"] == when


@pytest.mark.parametrize(
    ("status", "is_tried_again"),
    [(400, False), (403, False), (409, True), (422, False), (429, True), (500, True), (503, True)],
)
def test_a_refusal(
    url: str, store: FhirStore, tmp_path: Path, status: int, is_tried_again: bool
) -> None:
    """It says what the server's codes say, and nothing that the server says of the patient."""
    store.fails_with = status
    with pytest.raises(DeliveryError, match=f"HTTP {status}") as caught:
        server(url).send(write_report(tmp_path))
    assert caught.value.retryable == is_tried_again
    assert "(processing at Bundle.entry[0])" in caught.value.message
    assert not [each for each in PATIENT_VALUES if each in caught.value.message]
    assert store.kept == {}


def test_the_token(url: str, store: FhirStore, tmp_path: Path) -> None:
    store.token = "open sesame"  # noqa: S105
    path, token = write_report(tmp_path), tmp_path / "token"
    token.write_text("open sesame\n", encoding="utf-8")
    with pytest.raises(DeliveryError, match=r"HTTP 401 \(login"):
        server(url).send(path)
    assert server(url, token_file=token).send(path).status == "HTTP 200"


def test_the_server_must_speak_r4(url: str, store: FhirStore) -> None:
    assert server(url).test() == f"fhir ({url}) speaks FHIR 4.0.1"
    store.version = "5.0.0"
    with pytest.raises(DeliveryError, match=r"speaks FHIR 5\.0\.0, not R4"):
        server(url).test()


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DestinationUnavailableError, match="cannot be reached"):
        server(f"http://127.0.0.1:{free_port()}").send(write_report(tmp_path))


def test_a_page_that_is_no_fhir_server_took_nothing(
    url: str, store: FhirStore, tmp_path: Path
) -> None:
    """A proxy's log-in page answers 200 to anything."""

    @store.app.post("/page")
    def _page() -> str:
        return "please log in"

    with pytest.raises(DeliveryError, match="took 0 of 9 resources"):
        server(url.removesuffix("/r4") + "/page").send(write_report(tmp_path))

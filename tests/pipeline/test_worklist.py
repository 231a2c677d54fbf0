"""A work item is claimed, its input fetched from a real Orthanc, read, reported; or given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from gateway import Gateway, eventually, running_gateway, settings
from network import neighbours
from network.neighbours import Orthanc, http_serving
from phantom import write_series
from tiny_model import TinyModel
from wetread.ledger import Ledger
from wetread.ledger.work_items import WorkItemState
from worklist_origin import Origin, app_of

pytestmark = pytest.mark.timeout(60)

CODE, OTHER_CODE = "BRAIN^99HOSP", "KNEE^99HOSP"
RULES = [
    {"name": "others ask", "when": {"calling_ae_title": "WORKLIST"}, "run": [],
     "send_results_to": []},
    {"name": "every CT", "when": {"modality": "CT"}, "run": ["tiny"], "send_results_to": ["pacs"]},
    {"name": "every MR", "when": {"modality": "MR"}, "run": ["tiny"], "send_results_to": ["pacs"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with neighbours.orthanc(tmp_path_factory.mktemp("worklist")) as running:
        yield running


@pytest.fixture(scope="module")
def origin() -> Origin:
    return Origin()


@pytest.fixture(scope="module")
def gateway(
    orthanc: Orthanc,
    origin: Origin,
    tiny_ct: TinyModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    pacs = {"kind": "dicomweb", "url": orthanc.dicomweb_url}
    with http_serving(app_of(origin)) as url:
        worklist: dict[str, Any] = {
            "url": f"{url}/dicom-web",
            "archive": orthanc.dicomweb_url,
            "codes": {CODE: "every CT", OTHER_CODE: "every MR"},
            "poll_seconds": 0.2,
            "give_up_seconds": 1.0,
        }
        config = settings(folder, tiny_ct, {"pacs": pacs}, rules=RULES, worklist=worklist)
        with running_gateway(config) as running:
            yield running


def in_archive(orthanc: Orthanc, folder: Path) -> tuple[str, str, list[tuple[str, str]]]:
    """Study, series and instances of a CT that the archive has."""
    paths = write_series(folder, seed=folder.name).paths
    for path in paths:
        orthanc.upload(path)
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    first = headers[0]
    named = [(str(each.SOPClassUID), str(each.SOPInstanceUID)) for each in headers]
    return str(first.StudyInstanceUID), str(first.SeriesInstanceUID), named


def test_an_item_is_performed_and_says_where_its_results_are(
    gateway: Gateway, orthanc: Orthanc, origin: Origin, tmp_path: Path
) -> None:
    study, series, _ = in_archive(orthanc, tmp_path)
    uid = origin.schedule(CODE, study, series, [])
    eventually(lambda: origin.state(uid) == "COMPLETED", 40)
    [done] = origin.item(uid).UnifiedProcedureStepPerformedProcedureSequence
    assert done.PerformedWorkitemCodeSequence[0].CodeValue == "BRAIN"
    referenced = {
        str(one.ReferencedSOPInstanceUID)
        for output in done.OutputInformationSequence
        for one in output.ReferencedSOPSequence
    }
    [job] = gateway.service.ledger.jobs.list(study=study)
    written = gateway.service.ledger.jobs.results_of(job.job_id)
    assert referenced == {each.sop_instance_uid for each in written} <= orthanc.instances()
    assert {each.kind for each in written} == {"SEG", "SR", "SC"}
    assert origin.progress[uid][-1] == "done"

    # The same input again is not read anew, and has the same results.
    again = origin.schedule(CODE, study, series, [])
    eventually(lambda: origin.state(again) == "COMPLETED", 30)
    assert len(gateway.service.ledger.jobs.list(study=study)) == 1


def test_what_the_rule_of_its_code_does_not_take_is_given_back_with_the_reason(
    gateway: Gateway, orthanc: Orthanc, origin: Origin, tmp_path: Path
) -> None:
    study, series, named = in_archive(orthanc, tmp_path)
    uid = origin.schedule(OTHER_CODE, study, series, named)
    eventually(lambda: origin.state(uid) == "CANCELED", 30)
    [step] = origin.item(uid).ProcedureStepProgressInformationSequence
    assert "modality is CT, wanted is MR" in step.ReasonForCancellation
    assert step.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"
    assert gateway.service.ledger.jobs.list(study=study) == ()


def test_an_item_without_input_is_given_back(gateway: Gateway, origin: Origin) -> None:
    uid = origin.schedule(CODE, "1.2.3", "1.2.3.4", [])
    del origin.items[uid]["00404021"]
    eventually(lambda: origin.state(uid) == "CANCELED", 30)
    [step] = origin.item(uid).ProcedureStepProgressInformationSequence
    assert "names no input" in step.ReasonForCancellation


def test_an_item_of_another_performer_is_left_alone(gateway: Gateway, origin: Origin) -> None:
    # The origin looks at the code's value only.
    theirs = origin.schedule("BRAIN^OTHER", "1.2.3", "1.2.3.4", [])
    uid = origin.schedule("ELSE^99HOSP", "1.2.3", "1.2.3.4", [])
    assert origin.change(uid, "IN PROGRESS", "1.2.99").status_code == 200
    # As if it had been seen before the other one took it.
    assert gateway.service.ledger.work_items.begin(uid, "1.2.1", CODE, "1.2.3")
    eventually(lambda: state_of(gateway.service.ledger, uid) is WorkItemState.LOST)
    assert (origin.state(uid), origin.state(theirs)) == ("IN PROGRESS", "SCHEDULED")


def test_a_claim_whose_answer_a_crash_has_lost_goes_on(
    gateway: Gateway, orthanc: Orthanc, origin: Origin, tmp_path: Path
) -> None:
    study, series, _ = in_archive(orthanc, tmp_path)
    uid = origin.schedule("CRASH^99HOSP", study, series, [])
    assert origin.change(uid, "IN PROGRESS", "1.2.7").status_code == 200
    assert gateway.service.ledger.work_items.begin(uid, "1.2.7", CODE, study)
    eventually(lambda: origin.state(uid) == "COMPLETED", 40)


def state_of(ledger: Ledger, uid: str) -> WorkItemState | None:
    found = ledger.work_items.get(uid)
    return found and found.state


def test_images_of_another_patient_are_not_taken(
    gateway: Gateway, orthanc: Orthanc, origin: Origin, tmp_path: Path
) -> None:
    study, series, _ = in_archive(orthanc, tmp_path)
    uid = origin.schedule(CODE, study, series, [], patient_id="SOMEBODY-ELSE")
    eventually(lambda: origin.state(uid) == "CANCELED", 30)
    [step] = origin.item(uid).ProcedureStepProgressInformationSequence
    assert "another patient" in step.ReasonForCancellation
    assert "SOMEBODY" not in step.ReasonForCancellation
    assert gateway.service.ledger.jobs.list(study=study) == ()


def test_input_that_the_archive_does_not_have_is_given_up(gateway: Gateway, origin: Origin) -> None:
    uid = origin.schedule(CODE, "2.25.1", "2.25.2", [])
    eventually(lambda: origin.state(uid) == "CANCELED", 30)
    [step] = origin.item(uid).ProcedureStepProgressInformationSequence
    assert "studies/2.25.1/series/2.25.2 answers HTTP 404" in step.ReasonForCancellation

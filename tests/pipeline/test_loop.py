"""The whole loop: a real sender, the real model path, a real receiver.

Every test runs with the network in this process, and once more with it on a real Triton.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from gateway import ReceivingAE, eventually, running_gateway, settings
from network.neighbours import free_port, relayed
from phantom import grid_points, write_series
from readings import complaints
from tiny_model import TinyModel
from triton_server import RunningTriton
from wetread.errors import ConfigError
from wetread.ledger import DeliveryState, JobState, StudyState
from wetread.service import Service

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["embedded", "triton"])
def tiny_ct(request: pytest.FixtureRequest, tiny_ct: TinyModel) -> TinyModel:
    if request.param == "embedded":
        return tiny_ct
    running: RunningTriton = request.getfixturevalue("triton_server")
    return replace(running.segmenter, triton_url=f"grpc://{running.server.grpc_url}")


def test_a_study_comes_back_as_seg_sr_and_sc(tmp_path: Path, tiny_ct: TinyModel) -> None:
    series = write_series(tmp_path / "study", oblique_degrees=17, shuffled=True)
    with (
        ReceivingAE(tmp_path / "pacs") as pacs,
        running_gateway(settings(tmp_path, tiny_ct, {"pacs": pacs.destination})) as gateway,
    ):
        gateway.send(series.paths)
        job = gateway.job(series.study_instance_uid)
        gateway.deliveries(job.job_id)
        objects = pacs.objects()
    assert set(objects) == {"SEG", "SR", "OT"}
    for path in pacs.files.values():
        assert complaints(path.read_bytes(), tmp_path) == []
    assert {each.StudyInstanceUID for each in objects.values()} == {series.study_instance_uid}
    found = highdicom.seg.Segmentation.from_dataset(objects["SEG"]).get_volume(
        combine_segments=True
    )
    points = grid_points(np.asarray(found.affine), found.array.shape)
    assert np.array_equal(np.asarray(found.array) > 0, series.mask_at(points))
    voxel_ml = abs(np.linalg.det(series.affine[:3, :3])) / 1000
    expected_ml = int(series.mask().sum()) * voxel_ml
    assert job.outcome == f"Ellipsoid {expected_ml:.1f} mL"
    assert expected_ml == pytest.approx(series.expected_ml, rel=0.05)


def test_an_instance_after_the_result_makes_a_generation(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    series = write_series(tmp_path / "study")
    with (
        ReceivingAE(tmp_path / "pacs") as pacs,
        running_gateway(settings(tmp_path, tiny_ct, {"pacs": pacs.destination})) as gateway,
    ):
        by_height = sorted(series.paths, key=lambda path: dcmread(path).ImagePositionPatient[2])
        gateway.send(by_height[:-1])
        first = gateway.job(series.study_instance_uid)
        gateway.deliveries(first.job_id)
        gateway.send(by_height[-1:])
        second = eventually(
            lambda: next(
                (
                    job
                    for job in gateway.service.ledger.jobs.list(study=series.study_instance_uid)
                    if job.job_id != first.job_id and job.state == JobState.DONE
                ),
                None,
            )
        )
        gateway.deliveries(second.job_id)
        ledger = gateway.service.ledger
        old, new = (ledger.jobs.results_of(job.job_id) for job in (first, second))
        report = next(dcmread(each.path) for each in new if each.kind == "SR")
    assert second.generation == 2
    assert all(each.superseded for each in old)
    assert not any(each.superseded for each in new)
    assert {each.sop_instance_uid for each in old}.isdisjoint(each.sop_instance_uid for each in new)
    predecessor = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    named = predecessor.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == next(each.sop_instance_uid for each in old if each.kind == "SR")


def test_a_second_series_leaves_the_first_reading_alone(tmp_path: Path, tiny_ct: TinyModel) -> None:
    one = write_series(tmp_path / "one", shape=(6, 16, 16), seed="one")
    two = write_series(tmp_path / "two", shape=(6, 16, 16), seed="two")
    for path in two.paths:
        dataset = dcmread(path)
        dataset.StudyInstanceUID = one.study_instance_uid
        dataset.save_as(path)
    (tmp_path / "out").mkdir()
    folder = {"folder": {"kind": "folder", "path": str(tmp_path / "out")}}
    with running_gateway(settings(tmp_path, tiny_ct, folder)) as gateway:
        gateway.send(one.paths)
        first = gateway.job(one.study_instance_uid)
        gateway.send(two.paths)
        eventually(lambda: gateway.service.ledger.studies.get(one.study_instance_uid, 1))
        eventually(
            lambda: (
                len(gateway.service.ledger.jobs.list(study=one.study_instance_uid)) == 2
                and gateway.job(one.study_instance_uid)
            )
        )
        results = gateway.service.ledger.jobs.results_of(first.job_id)
    assert results
    assert not any(each.superseded for each in results)


def test_a_gap_fails_the_job_where_a_person_can_see_it(tmp_path: Path, tiny_ct: TinyModel) -> None:
    series = write_series(tmp_path / "study", fault="gap")
    with running_gateway(settings(tmp_path, tiny_ct, {})) as gateway:
        gateway.send(series.paths)
        job = gateway.job(series.study_instance_uid, JobState.FAILED)
        history = gateway.service.ledger.studies.history(series.study_instance_uid)
    assert job.failure is not None
    assert job.failure.error == "GeometryError"
    assert "gap of 10.0 mm" in job.failure.message
    assert history[-1].event.startswith("failed: series")


def test_a_series_no_rule_wants_is_routed_nowhere(tmp_path: Path, tiny_ct: TinyModel) -> None:
    series = write_series(tmp_path / "study", modality="MR", shape=(4, 16, 16))
    with running_gateway(settings(tmp_path, tiny_ct, {})) as gateway:
        gateway.send(series.paths)
        studies = gateway.service.ledger.studies
        eventually(lambda: studies.get(series.study_instance_uid).state == StudyState.ROUTED)
        record = studies.get(series.study_instance_uid)
    assert record.decision is not None
    condition = record.decision["outcomes"][0]["conditions"][0]
    assert (condition["wanted"], condition["seen"], condition["held"]) == ("CT", "MR", False)
    assert record.decision["selections"] == []


def test_a_rule_that_cannot_be_judged_fails_the_study(tmp_path: Path, tiny_ct: TinyModel) -> None:
    series = write_series(tmp_path / "study", shape=(4, 16, 16))
    for path in series.paths:
        dataset = dcmread(path)
        dataset.PatientAge = "042Y"
        dataset.save_as(path)
        path.write_bytes(path.read_bytes().replace(b"042Y", b"4two"))
    rule = {
        "name": "adults",
        "when": {"min_patient_age_years": 18},
        "run": ["tiny"],
        "send_results_to": [],
    }
    with running_gateway(settings(tmp_path, tiny_ct, {}, rules=[rule])) as gateway:
        gateway.send(series.paths)
        studies = gateway.service.ledger.studies
        eventually(lambda: studies.get(series.study_instance_uid).failure)
        record = studies.get(series.study_instance_uid)
    assert record.state == StudyState.FAILED
    assert "rule 'adults' cannot be evaluated" in record.failure.message


def test_a_dead_destination_does_not_hold_up_the_living(tmp_path: Path, tiny_ct: TinyModel) -> None:
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    dead = {
        "kind": "dicom",
        "host": "127.0.0.1",
        "port": free_port(),
        "called_ae_title": "NOBODY",
        "first_retry_seconds": 0.2,
        "max_retry_seconds": 0.4,
        "max_attempts": 3,
    }
    with ReceivingAE(tmp_path / "pacs") as pacs:
        destinations = {"dead": dead, "pacs": pacs.destination}
        with running_gateway(settings(tmp_path, tiny_ct, destinations)) as gateway:
            gateway.send(series.paths)
            job = gateway.job(series.study_instance_uid)
            book = gateway.service.ledger.deliveries

            def delivered() -> bool:
                found = [
                    each for each in book.list(job_id=job.job_id) if each.destination == "pacs"
                ]
                return all(each.state == DeliveryState.DELIVERED for each in found)

            eventually(delivered)
            letters = eventually(
                lambda: [
                    each
                    for each in book.list(destination="dead")
                    if each.state == DeliveryState.DEAD
                ]
            )
    assert letters[0].attempt == 3
    assert letters[0].failure.error == "DestinationUnavailableError"


def test_a_dead_letter_is_sent_again_with_the_same_bytes(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    port = free_port()
    dead = {
        "kind": "dicom",
        "host": "127.0.0.1",
        "port": port,
        "called_ae_title": "PACS",
        "max_attempts": 1,
    }
    with running_gateway(settings(tmp_path, tiny_ct, {"pacs": dead})) as gateway:
        gateway.send(series.paths)
        job = gateway.job(series.study_instance_uid)
        letters = gateway.deliveries(job.job_id, DeliveryState.DEAD)
        before = {each.path: each.path.read_bytes() for each in letters}
    with (
        ReceivingAE(tmp_path / "pacs") as pacs,
        running_gateway(settings(tmp_path, tiny_ct, {"pacs": pacs.destination})) as gateway,
    ):
        for each in letters:
            gateway.service.ledger.deliveries.retry(each.delivery_id)
        gateway.deliveries(job.job_id)
        assert len(pacs.stores) == len(letters)
    assert {path: path.read_bytes() for path in before} == before


def test_a_retried_job_has_new_uids(tmp_path: Path, tiny_ct: TinyModel) -> None:
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    (tmp_path / "out").mkdir()
    folder = {"folder": {"kind": "folder", "path": str(tmp_path / "out")}}
    with running_gateway(settings(tmp_path, tiny_ct, folder)) as gateway:
        gateway.send(series.paths)
        job = gateway.job(series.study_instance_uid)
        gateway.deliveries(job.job_id)
        gateway.service.ledger.jobs.retry(job.job_id)
        gateway.job(series.study_instance_uid, attempt=2)
        gateway.deliveries(job.job_id, attempt=2)
        results = gateway.service.ledger.jobs.results_of(job.job_id)
    uids = {(each.attempt, each.kind): each.sop_instance_uid for each in results}
    assert len(set(uids.values())) == 2 * len({kind for _, kind in uids})
    assert {each.attempt for each in results if not each.superseded} == {2}


def test_a_restart_goes_on_where_it_stopped(tmp_path: Path, tiny_ct: TinyModel) -> None:
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    with ReceivingAE(tmp_path / "pacs") as pacs:
        config = settings(tmp_path, tiny_ct, {"pacs": pacs.destination})
        with running_gateway(config) as gateway:
            gateway.send(series.paths)
        with running_gateway(config) as gateway:
            job = gateway.job(series.study_instance_uid)
            gateway.deliveries(job.job_id)
        assert sorted(pacs.objects()) == ["OT", "SEG", "SR"]
        assert len(pacs.files) == 3


def test_two_gateways_on_one_spool_are_refused(tmp_path: Path, tiny_ct: TinyModel) -> None:
    config = settings(tmp_path, tiny_ct, {})
    with running_gateway(config):
        other = Service(config)
        with pytest.raises(ConfigError, match=r"another wetread \(process \d+\) runs on"):
            other._durable.start()
        other.ledger.close()


def test_a_model_that_cannot_be_opened_shows_at_the_start(
    tmp_path: Path, tiny_ct: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the gateway still receives: nothing that is sent is lost."""
    if tiny_ct.triton_url:
        pytest.skip("a server that is not there is another test's")
    config = settings(tmp_path, tiny_ct, {}, model_repository=str(tmp_path / "empty"))
    series = write_series(tmp_path / "study", shape=(4, 16, 16))
    with running_gateway(config) as gateway:
        eventually(lambda: "model cannot be opened" in capsys.readouterr().out)
        gateway.send(series.paths)
        job = gateway.job(series.study_instance_uid, JobState.FAILED)
    assert "tiny_ellipsoid" in job.failure.message


def test_a_job_waits_for_a_server_that_is_not_there_yet(
    tmp_path: Path, triton_server: RunningTriton
) -> None:
    """It is put off, a person sees why, and it is read once the server is back."""
    door = free_port()
    tiny = replace(triton_server.segmenter, triton_url=f"grpc://127.0.0.1:{door}")
    config = settings(tmp_path, tiny, {"folder": {"kind": "folder", "path": str(tmp_path)}})
    model = config.models["tiny"].model_copy(update={"first_retry_seconds": 0.5})
    series = write_series(tmp_path / "study", shape=(4, 16, 16))
    with running_gateway(config.model_copy(update={"models": {"tiny": model}})) as gateway:
        gateway.send(series.paths)
        jobs = gateway.service.ledger.jobs
        [waiting] = eventually(lambda: [each for each in jobs.list() if each.next_try_at])
        assert waiting.state == JobState.QUEUED
        assert f"grpc://127.0.0.1:{door}: it cannot be reached" in waiting.failure.message
        with relayed(door, triton_server.server.ports["grpc"]):
            [done] = eventually(lambda: jobs.list(state=JobState.DONE))
    assert done.attempt > 1
    assert "Ellipsoid" in done.outcome


def test_a_metrics_port_in_use_is_said(tmp_path: Path, tiny_ct: TinyModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = settings(tmp_path, tiny_ct, {}, metrics={"port": port})
        with pytest.raises(ConfigError, match=rf"cannot show metrics on 127\.0\.0\.1:{port}"):
            Service(config).start()

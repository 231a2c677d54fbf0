"""A model that hangs, ends its process or gives no numbers: its jobs fail by name, others go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faults.hindrances import Crashes, answering_nan, hindered, waiting
from faults.ward import Ward, ward_in
from gateway import ReceivingAE, eventually, running_gateway, settings
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from wetread.ledger import JobRecord, JobState

pytestmark = pytest.mark.timeout(120)


def two_models(bad: TinyModel, good: TinyModel, **changes: Any) -> dict[str, Any]:
    """Each study is read by the bad one first, then by the good one."""
    return {
        "models": {
            "bad": {"bundle": str(bad.bundle), **changes},
            "good": {"bundle": str(good.bundle)},
        },
        "rules": [
            {
                "name": f"by the {name} one",
                "when": {"modality": "CT"},
                "run": [name],
                "send_results_to": ["pacs"],
                "priority": priority,
            }
            for name, priority in (("bad", 1), ("good", 2))
        ],
        "routing": {"match": "all"},
    }


def jobs_by_model(jobs: Any, study: PhantomSeries) -> dict[str, JobRecord]:
    return {each.model: each for each in jobs.list(study=study.study_instance_uid)}


def ended(jobs: Any, study: PhantomSeries, model: str, seconds: float = 40) -> JobRecord:
    """The job of that model, once it has ended."""

    def look() -> JobRecord | None:
        job = jobs_by_model(jobs, study).get(model)
        return job if job and job.state in (JobState.DONE, JobState.FAILED) else None

    return eventually(look, seconds=seconds)


def test_a_model_that_hangs_holds_up_no_other(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """There is one place for jobs. When the model is well again, it reads at once."""
    place = tmp_path / "model"
    bad = waiting(tiny_ct, place)
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    with ReceivingAE(tmp_path / "pacs") as pacs:
        models = two_models(bad, tiny_ct, hang_seconds=1.0)
        config = settings(tmp_path, tiny_ct, {"pacs": pacs.destination}, **models)
        with running_gateway(config) as gateway:
            gateway.send(series.paths)
            jobs = gateway.service.ledger.jobs
            failed = ended(jobs, series, "bad")
            done = ended(jobs, series, "good")
            (place / "go").touch()
            jobs.retry(failed.job_id)
            again = eventually(
                lambda: next(
                    (each for each in jobs.list(state=JobState.DONE) if each.model == "bad"), None
                )
            )
    assert failed.failure is not None
    assert failed.failure.error == "ReadingHangsError"
    assert failed.failure.message == "no sign of life for 1 s in step 'preprocess'"
    assert (done.state, again.attempt) == (JobState.DONE, 2)


def test_a_network_that_answers_nan_fails_its_job_only(tmp_path: Path, tiny_ct: TinyModel) -> None:
    bad = answering_nan(tiny_ct, tmp_path / "nan")
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    with ReceivingAE(tmp_path / "pacs") as pacs:
        models = two_models(bad, tiny_ct)
        config = settings(tmp_path, bad, {"pacs": pacs.destination}, **models)
        with running_gateway(config) as gateway:
            gateway.send(series.paths)
            jobs = gateway.service.ledger.jobs
            failed, done = (ended(jobs, series, each) for each in ("bad", "good"))
    assert failed.failure is not None
    assert failed.failure.error == "ModelContractError"
    assert "NaN or infinite" in failed.failure.message
    assert done.state == JobState.DONE


def test_a_model_that_ends_its_process_is_given_up_after_so_many_times(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    """Something starts the gateway again each time, as systemd does; then the other model reads."""
    place = tmp_path / "model"
    place.mkdir()
    bad = hindered(tiny_ct, place, Crashes)
    models = two_models(bad, tiny_ct, max_attempts=2)
    with ward_in(tmp_path, tiny_ct, **models) as ward:
        study = ward.send_a_study()
        crashes = 0
        while not is_over(ward, study):
            ward.start()
            eventually(lambda: not ward.gateway.runs or is_over(ward, study), seconds=40)
            crashes += not ward.gateway.runs
        failed, done = (ended(ward.ledger.jobs, study, each) for each in ("bad", "good"))
    assert crashes == 2
    assert failed.failure is not None
    assert failed.failure.error == "ReadingCrashesError"
    assert "2 times" in failed.failure.message
    assert done.state == JobState.DONE


def is_over(ward: Ward, study: PhantomSeries) -> bool:
    job = jobs_by_model(ward.ledger.jobs, study).get("bad")
    return job is not None and job.state == JobState.FAILED

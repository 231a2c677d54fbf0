"""The API over a ledger with something in every state."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from conftest import Clock
from facts import STUDY, instance
from phantom import write_series
from wetread.access.hashing import TOKEN_PREFIX
from wetread.ledger import DeliveryState, Failure, JobState, Ledger, NewJob, ResultRecord
from wetread.study import Completion
from wetread.web.site import Site

from .conftest import As

REFUSED = Failure("StoreRefusedError", "inbox refused with status 0110", "look at its log")


@pytest.fixture
def delivery(ledger: Ledger, clock: Clock) -> str:
    """A dead letter of a job that is done."""
    ledger.studies.record_instance(instance(at=clock.now), sha256="0", size_bytes=1)
    job = NewJob("j1", "1.2.3.4", "thin CT", "tiny", ("inbox",), 100)
    at = instance(at=clock.now).received_at
    ledger.studies.mark_complete(STUDY, 1, Completion("study quiet for 2 s", 2.0, at))
    ledger.studies.record_decision(STUDY, 1, {}, [job])
    found = ledger.jobs.get("j1")
    ledger.jobs.start(found)
    written = ResultRecord(
        "9.1", "j1", 1, 1, "SEG", "1.2", STUDY, "1.2.3.4", "9", "tiny",
        Path("/spool/secret/seg.dcm"), "0", clock.now,
    )  # fmt: skip
    [made] = ledger.jobs.finish(found, "Brain 1.0 mL", {"load": 1.5}, [written], {"inbox": ["SEG"]})
    ledger.deliveries.failed(ledger.deliveries.get(made), REFUSED, None)
    return made


@pytest.fixture
def bob(as_user: As) -> TestClient:
    return as_user("bob")


def test_a_study_is_told_from_first_to_last(delivery: str, bob: TestClient) -> None:
    told = bob.get(f"/api/studies/{STUDY}").json()
    assert told["study"]["state"] == "routed"
    assert told["images"] == {"1": 1}
    assert [each["outcome"] for each in told["jobs"]] == ["Brain 1.0 mL"]
    assert [each["state"] for each in told["deliveries"]] == ["dead"]
    assert [each["stage"] for each in told["history"]] == [
        "receive", "assemble", "route", "read", "read", "deliver",
    ]  # fmt: skip


def test_no_path_of_the_disk_is_told(delivery: str, bob: TestClient) -> None:
    for path in (f"/api/studies/{STUDY}", "/api/jobs/j1", "/api/deliveries", "/api/now"):
        assert "/spool" not in bob.get(path).text


def test_now_counts_what_needs_a_person(delivery: str, bob: TestClient) -> None:
    now = bob.get("/api/now").json()
    assert (now["dead"], now["waiting"], now["queued"]) == (1, 0, 0)
    [inbox, away] = now["destinations"]
    assert (inbox["health"], inbox["fault"]["hint"]) == ("failing", "look at its log")
    assert away["health"] == "unused"


def test_a_dead_letter_is_sent_again_once(delivery: str, bob: TestClient, ledger: Ledger) -> None:
    assert bob.post(f"/api/deliveries/{delivery}/retry").status_code == 200
    assert ledger.deliveries.get(delivery).state == DeliveryState.PENDING
    again = bob.post(f"/api/deliveries/{delivery}/retry")
    assert (again.status_code, again.json()) == (
        409, {"error": f"delivery {delivery} is pending", "hint": "only dead letters are retried"},
    )  # fmt: skip


def test_all_dead_letters_are_sent_again(delivery: str, bob: TestClient) -> None:
    elsewhere = bob.post("/api/deliveries/retry?destination=away").json()
    assert elsewhere["message"] == "Deliveries queued again: 0."
    assert bob.post("/api/deliveries/retry").json()["message"] == "Deliveries queued again: 1."


def test_a_dead_letter_is_given_up(delivery: str, bob: TestClient, ledger: Ledger) -> None:
    assert bob.post(f"/api/deliveries/{delivery}/cancel").status_code == 200
    assert ledger.deliveries.get(delivery).state == DeliveryState.CANCELLED
    assert bob.post(f"/api/deliveries/{delivery}/cancel").status_code == 409
    assert ledger.studies.history(STUDY)[-1].event == "SEG to inbox cancelled"


def test_a_job_is_read_again_and_cancelled(delivery: str, bob: TestClient, ledger: Ledger) -> None:
    assert bob.post("/api/jobs/j1/retry").json()["message"] == "Job j1: attempt 2 is queued."
    assert bob.post("/api/jobs/j1/cancel").json()["message"] == "Job j1 is cancelled."
    assert ledger.jobs.get("j1").state == JobState.CANCELLED
    assert [each["job_id"] for each in bob.get("/api/jobs?state=cancelled").json()] == ["j1"]


@pytest.mark.parametrize(
    ("method", "path", "fact"),
    [
        ("GET", "/api/jobs/j9", "no job j9 in the ledger"),
        ("POST", "/api/jobs/j9/retry", "no job j9 in the ledger"),
        ("GET", "/api/studies/1.9", "no study 1.9 in the ledger"),
        ("POST", "/api/deliveries/d9/cancel", "no delivery d9 in the ledger"),
        ("POST", "/api/destinations/nowhere/test", "no destination 'nowhere'"),
        ("GET", "/api/nothing", "Not Found"),
    ],
)
def test_what_there_is_not_is_404(bob: TestClient, method: str, path: str, fact: str) -> None:
    answer = bob.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == (404, fact)


def test_a_question_that_cannot_be_is_named(bob: TestClient) -> None:
    answer = bob.get("/api/jobs?state=lost&limit=0")
    assert answer.status_code == 422
    assert "query.state" in answer.json()["error"]
    assert "query.limit" in answer.json()["error"]


def test_a_destination_answers_or_says_why_not(bob: TestClient) -> None:
    well = bob.post("/api/destinations/inbox/test")
    assert well.status_code == 200
    away = bob.post("/api/destinations/away/test")
    assert away.status_code == 502
    assert "away" in away.json()["error"]


def test_a_ledger_that_does_not_answer_is_503(site: Site, bob, monkeypatch) -> None:
    from sqlalchemy.exc import OperationalError

    from wetread.errors import LedgerError

    def silent() -> None:
        raise LedgerError("the ledger does not answer", hint="check") from OperationalError(
            "", {}, Exception()
        )

    monkeypatch.setattr(site.ledger.jobs, "counts", silent)
    assert bob.get("/api/now").status_code == 503


def test_models_have_version_and_figures(delivery: str, bob: TestClient) -> None:
    [tiny] = bob.get("/api/models").json()
    assert (tiny["version"], tiny["done"], tiny["failed"]) == ("0.0.1", 1, 0)
    assert tiny["median_seconds"] == 0.0
    assert [each["name"] for each in tiny["networks"]] == ["tiny_ellipsoid"]


class TestRules:
    """A study is dropped, and every condition says why."""

    def files(self, folder: Path, count: int):
        series = write_series(folder / "study", shape=(count, 16, 16))
        return [("files", (path.name, path.read_bytes())) for path in series.paths]

    def test_files(self, bob: TestClient, tmp_path: Path) -> None:
        [study] = bob.post("/api/rules/test", files=self.files(tmp_path, 6)).json()
        [series] = study["series"]
        assert series["choices"] == [
            {"rule": "thin CT", "models": ["tiny"], "destinations": ["inbox"]}
        ]
        [outcome] = series["outcomes"]
        assert [(each["name"], each["seen"], each["held"]) for each in outcome["conditions"]] == [
            ("modality", "CT", True),
            ("min_instances", "6", True),
        ]

    def test_an_archive(self, bob: TestClient, tmp_path: Path) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for _, (name, content) in self.files(tmp_path, 4):
                archive.writestr(f"inner/{name}", content)
        upload = {"files": ("study.zip", packed.getvalue())}
        [study] = bob.post("/api/rules/test", files=upload).json()
        [series] = study["series"]
        assert series["choices"] == []
        assert [each["held"] for each in series["outcomes"][0]["conditions"]] == [True, False]

    def test_two_slices_of_one_name_are_two(self, bob: TestClient, tmp_path: Path) -> None:
        files = [("files", ("I", content)) for _, (_, content) in self.files(tmp_path, 6)]
        [study] = bob.post("/api/rules/test", files=files).json()
        assert study["series"][0]["outcomes"][0]["conditions"][1]["seen"] == "6"

    @pytest.mark.parametrize("name", ["notes.txt", "../../etc/passwd", ""])
    def test_what_is_no_image_is_told(self, bob: TestClient, name: str) -> None:
        answer = bob.post("/api/rules/test", files={"files": (name, b"hello")})
        assert answer.status_code == 422
        assert answer.json()["error"]

    def test_nothing_of_it_stays(self, bob, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        bob.post("/api/rules/test", files=self.files(tmp_path, 6))
        bob.post("/api/rules/test", files={"files": ("x.zip", b"PK\x05\x06" + b"\0" * 18)})
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_an_archive_that_swells_is_refused(self, bob, config, monkeypatch) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("big", b"\0" * 3_000_000)
        small = config.web.model_copy(update={"max_upload_bytes": 1_000_000})
        monkeypatch.setitem(config.__dict__, "web", small)
        answer = bob.post("/api/rules/test", files={"files": ("big.zip", packed.getvalue())})
        assert answer.json()["error"] == "big.zip unpacks to 3000000 bytes, more than 1000000"


class TestUsers:
    """An admin's work."""

    def test_a_users_life(self, as_user: As, site: Site) -> None:
        eve = as_user("eve")
        made = eve.post("/api/users", json={"name": "kim", "role": "viewer"}).json()
        assert site.accounts.log_in("kim", made["secret"]).must_change
        eve.put("/api/users/kim/role", json={"role": "operator"})
        assert site.accounts.get("kim").role == "operator"
        anew = eve.post("/api/users/kim/password").json()["secret"]
        assert anew != made["secret"]
        assert site.accounts.log_in("kim", anew)
        assert eve.delete("/api/users/kim").json()["message"] == "kim is removed."
        assert [each["name"] for each in eve.get("/api/users").json()] == ["ann", "bob", "eve"]

    def test_the_last_admin_stays(self, as_user: As) -> None:
        answer = as_user("eve").delete("/api/users/eve")
        assert (answer.status_code, answer.json()["error"]) == (
            409, "eve is the last admin with a password",
        )  # fmt: skip

    def test_neither_hash_nor_secret_is_told(self, as_user: As, site: Site) -> None:
        site.tokens.make("bob", "ci", None)
        eve = as_user("eve")
        told = eve.get("/api/users").text + eve.get("/api/tokens").text + eve.get("/users").text
        assert "argon2" not in told
        assert TOKEN_PREFIX not in told
        assert eve.delete("/api/tokens/bob/ci").status_code == 200
        assert eve.delete("/api/tokens/bob/ci").status_code == 409

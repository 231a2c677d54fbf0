"""`wetread studies|jobs|deliveries`: the ledger as a person and as a script reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from facts import STUDY, instance
from wetread.ledger import (
    DeliveryState,
    Failure,
    JobRecord,
    JobState,
    Ledger,
    NewJob,
    ResultRecord,
    StudyState,
    Worker,
)
from wetread.study import Completion

from .conftest import Run

GAP = Failure("GeometryError", "series 1.2.3.4: gap of 10.0 mm", "ask the sender")
REFUSED = Failure("StoreRefusedError", "pacs refused with status 0110", "look at its log")


@dataclass
class Books:
    """The ledger of the settings, with one study whose jobs are as a test makes them."""

    ledger: Ledger

    def job(self, job_id: str = "j1") -> JobRecord:
        job = NewJob(job_id, "1.2.3.4", "every CT", "tiny", ("inbox",), 100)
        self.ledger.studies.record_decision(STUDY, 1, {}, [job])
        return self.ledger.jobs.get(job_id)

    def done_job(self) -> str:
        """Done, with a SEG that waits to be delivered; returns the delivery's id."""
        job = self.job()
        self.ledger.jobs.start(job)
        written = ResultRecord(
            "9.1", "j1", 1, 1, "SEG", "1.2", STUDY, "1.2.3.4", "9", "tiny",
            Path("/spool/seg.dcm"), "0", job.created_at,
        )  # fmt: skip
        kinds = {"inbox": ["SEG"]}
        [delivery] = self.ledger.jobs.finish(job, "Brain 1.0 mL", {"load": 1.5}, [written], kinds)
        return delivery

    def failed_job(self) -> None:
        job = self.job()
        self.ledger.jobs.start(job)
        self.ledger.jobs.fail(job, GAP)

    def dead_letter(self) -> str:
        delivery = self.done_job()
        self.ledger.deliveries.failed(self.ledger.deliveries.get(delivery), REFUSED, None)
        return delivery


@pytest.fixture
def books(settings_file: Path) -> Books:
    ledger = Ledger(f"sqlite:///{settings_file.parent / 'spool/ledger.sqlite3'}")
    ledger.studies.record_instance(instance(), sha256="0", size_bytes=1)
    yield Books(ledger)
    ledger.close()


COMMANDS = [
    ("studies", "list"),
    ("studies", "show", STUDY),
    ("studies", "complete", STUDY),
    ("jobs", "list"),
    ("jobs", "show", "j1"),
    ("jobs", "retry", "j1"),
    ("jobs", "cancel", "j1"),
    ("deliveries", "list"),
    ("deliveries", "retry", "all"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_gateway_there_is_no_ledger_and_none_is_made(
    wetread: Run, settings_file: Path, command: tuple[str, ...]
) -> None:
    assert wetread(*command).is_error(9, "no ledger at", "ledger.sqlite3")
    assert not (settings_file.parent / "spool").exists()


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("studies", "show", "1.9"), "no study 1.9"),
        (("studies", "complete", "1.9"), "study 1.9 is not waiting"),
        (("jobs", "show", "j9"), "no job j9"),
        (("jobs", "retry", "j9"), "no job j9"),
        (("jobs", "cancel", "j9"), "no job j9"),
        (("deliveries", "retry", "d9"), "no delivery d9"),
    ],
)
def test_what_the_ledger_does_not_know_is_a_ledger_error(
    wetread: Run, command: tuple[str, ...], words: str
) -> None:
    assert wetread(*command).is_error(9, words)


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("jobs", "queued, running, done, failed, cancelled"),
        ("deliveries", "pending, delivered, dead, cancelled"),
    ],
)
def test_an_unknown_state_names_the_known(wetread: Run, command: str, allowed: str) -> None:
    done = wetread(command, "list", "--state", "lost")
    assert done.is_error(2, "'lost'")
    assert done.err.endswith(f"hint: allowed: {allowed}\n")


@pytest.mark.usefixtures("books")
def test_a_study_is_listed_with_its_sender(wetread: Run) -> None:
    [row] = wetread("studies", "list", "--json").json
    assert (row["study"], row["state"], row["from"]) == (STUDY, "arriving", "CT_ROOM1")


@pytest.mark.usefixtures("books")
def test_the_wait_for_a_study_can_be_ended(wetread: Run, books: Books) -> None:
    done = wetread("studies", "complete", STUDY)
    assert (done.exit_code, done.out) == (0, f"{STUDY} will be read as it is\n")
    assert books.ledger.studies.get(STUDY).complete_requested


def test_a_study_is_shown_with_everything_that_happened(wetread: Run, books: Books) -> None:
    books.ledger.studies.mark_complete(STUDY, 1, Completion("asked", 3.0, datetime.now(UTC)))
    books.job()
    events = [
        "first instance of generation 1 from CT_ROOM1",
        "complete: asked",
        "rule 'every CT': tiny on series 1.2.3.4",
    ]
    shown = wetread("studies", "show", STUDY, "--json").json
    assert [each["event"] for each in shown["history"]] == events
    assert (shown["state"], shown["waited_seconds"]) == (StudyState.ROUTED, 3.0)
    table = wetread("studies", "show", STUDY).out
    assert all(event in table for event in events)


def test_a_study_shows_where_the_viewer_opens_it(
    wetread: Run, settings_file: Path, books: Books
) -> None:
    """If there is a viewer."""
    assert wetread("studies", "show", STUDY, "--json").json["viewer"] is None
    with settings_file.open("a", encoding="utf-8") as file:
        file.write('[viewer]\nstudies = "http://127.0.0.1:9/dicom-web"\nport = 8051\n')
    address = wetread("studies", "show", STUDY, "--json").json["viewer"]
    assert address.startswith(f"http://127.0.0.1:8051/segmentation?StudyInstanceUIDs={STUDY}&")
    assert address in wetread("studies", "show", STUDY).out


def test_a_failed_study_shows_fact_and_hint(wetread: Run, books: Books) -> None:
    books.ledger.studies.fail(STUDY, 1, GAP)
    done = wetread("studies", "show", STUDY)
    assert (done.exit_code, done.err) == (0, "")
    assert GAP.message in done.out
    assert GAP.hint in done.out
    assert wetread("studies", "show", STUDY, "--json").json["failure"]["hint"] == GAP.hint
    assert wetread("studies", "list", "--json").json[0]["why"] == GAP.message


def test_a_failed_job_shows_fact_and_hint(wetread: Run, books: Books) -> None:
    books.failed_job()
    done = wetread("jobs", "show", "j1")
    assert (done.exit_code, done.err) == (0, "")
    assert all(text in done.out for text in (GAP.error, GAP.message, GAP.hint))
    assert wetread("jobs", "show", "j1", "--json").json["failure"]["error"] == GAP.error
    assert wetread("jobs", "list", "--json").json[0]["outcome"] == GAP.message


def test_a_done_job_shows_seconds_results_and_deliveries(wetread: Run, books: Books) -> None:
    books.done_job()
    rows = dict(
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in wetread("jobs", "show", "j1").out.splitlines()
        if line.startswith("│")
    )
    assert (rows["outcome"], rows["seconds load"]) == ("Brain 1.0 mL", "1.50")
    assert (rows["SEG"], rows["SEG to inbox"]) == ("/spool/seg.dcm", "pending")
    shown = wetread("jobs", "show", "j1", "--json").json
    assert shown["results"][0]["sop_instance_uid"] == "9.1"
    assert shown["deliveries"][0]["destination"] == "inbox"


def test_jobs_are_listed_by_state_study_and_number(wetread: Run, books: Books) -> None:
    books.failed_job()
    books.job("j2")

    def listed(*options: str) -> set[str]:
        return {row["job"] for row in wetread("jobs", "list", "--json", *options).json}

    assert listed() == {"j1", "j2"}
    assert listed("--state", "failed") == {"j1"}
    assert listed("--study", "1.9") == set()
    assert len(listed("--limit", "1")) == 1


def test_an_ended_job_is_queued_again_as_the_next_attempt(wetread: Run, books: Books) -> None:
    books.failed_job()
    assert wetread("jobs", "retry", "j1").out == "j1: attempt 2 queued\n"
    assert books.ledger.jobs.get("j1").state == JobState.QUEUED
    assert wetread("jobs", "retry", "j1").is_error(9, "job j1 is queued")


def test_a_queued_job_is_cancelled_at_once_a_running_one_soon(wetread: Run, books: Books) -> None:
    books.job("j1")
    books.ledger.jobs.start(books.job("j2"))
    assert wetread("jobs", "cancel", "j1").out == "j1: cancelled\n"
    assert wetread("jobs", "cancel", "j2").out == "j2: running, will stop\n"
    assert books.ledger.jobs.get("j2").cancel_requested
    assert wetread("jobs", "cancel", "j1").is_error(9, "job j1 has ended: cancelled")


def test_a_dead_letter_is_listed_with_the_answer_and_sent_again(wetread: Run, books: Books) -> None:
    delivery = books.dead_letter()
    [row] = wetread("deliveries", "list", "--state", "dead", "--json").json
    assert (row["delivery"], row["tries"], row["answer"]) == (delivery, 1, REFUSED.message)
    assert wetread("deliveries", "retry", delivery).out == "deliveries queued again: 1\n"
    assert books.ledger.deliveries.get(delivery).state == DeliveryState.PENDING
    assert wetread("deliveries", "retry", delivery).is_error(9, f"{delivery} is pending")


def test_all_dead_letters_are_sent_again(wetread: Run, books: Books) -> None:
    delivery = books.dead_letter()
    assert wetread("deliveries", "retry", "all").out == "deliveries queued again: 1\n"
    assert [each.delivery_id for each in books.ledger.deliveries.due()] == [delivery]
    assert wetread("deliveries", "retry", "all").out == "deliveries queued again: 0\n"


def test_a_dead_letter_is_given_up(wetread: Run, books: Books) -> None:
    delivery = books.done_job()
    books.ledger.deliveries.failed(books.ledger.deliveries.get(delivery), REFUSED, None)
    assert wetread("deliveries", "cancel", delivery).out == f"{delivery}: cancelled\n"
    assert wetread("deliveries", "cancel", delivery).is_error(9, f"{delivery} is cancelled")


def test_deliveries_are_listed_by_destination(wetread: Run, books: Books) -> None:
    books.done_job()
    for destination, count in (("inbox", 1), ("pacs", 0)):
        found = wetread("deliveries", "list", "--json", "--destination", destination).json
        assert len(found) == count


def test_who_shares_the_work(wetread: Run, settings_file: Path, books: Books) -> None:
    worker = Worker("one:1", "one", "host", "boot", 42, jobs=2, has_doors=False)
    books.ledger.workers.begin(worker, 30.0)
    [shown] = wetread("workers", "list", "-c", settings_file, "--json").json
    assert (shown["name"], shown["kind"], shown["process"], shown["jobs"]) == (
        "one",
        "worker",
        42,
        2,
    )


def test_a_worker_without_doors_needs_postgresql(wetread: Run, settings_file: Path) -> None:
    ended = wetread("work", "-c", settings_file)
    assert ended.is_error(2, "a worker without doors needs a PostgreSQL [database] url")

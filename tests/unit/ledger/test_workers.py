"""The book of workers: one process of a name lives, and what a dead one decides does not count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from conftest import Clock
from facts import STUDY, instance
from postgres import PostgresServer
from unit.ledger.test_jobs import KINDS, queue_job, results
from wetread.config import parse_config
from wetread.errors import ConfigError, LeaseLostError
from wetread.ledger import Failure, JobState, Ledger, Worker, database, ledger_url
from wetread.ledger.tables import workers
from wetread.study import Completion

ONE = Worker("one:1", "one", "host", "this boot", 11, 1, has_doors=True)
TWO = Worker("two:1", "two", "other", "that boot", 22, 1, has_doors=False)


@pytest.fixture
def other(ledger: Ledger, clock: Clock) -> Iterator[Ledger]:
    """Another process's view of the same ledger."""
    url = ledger._engine.url.render_as_string(hide_password=False)
    with closing(Ledger(url, clock)) as opened:
        yield opened


def let_it_end(ledger: Ledger, executor_id: str) -> None:
    """The lease of that worker is over."""
    this = workers.c.executor_id == executor_id
    with ledger._engine.begin() as connection:
        connection.execute(update(workers).where(this).values(expires_at=0.0))


def test_who_is_alive_is_known(ledger: Ledger, other: Ledger) -> None:
    assert ledger.workers.begin(ONE, 30.0) is None
    assert other.workers.begin(TWO, 30.0) is None
    assert [each.name for each in ledger.workers.alive()] == ["one", "two"]
    other.workers.end()
    assert [each.name for each in ledger.workers.alive()] == ["one"]


def test_a_name_is_taken_while_its_process_is_alive_elsewhere(
    ledger: Ledger, other: Ledger
) -> None:
    ledger.workers.begin(ONE, 30.0)
    elsewhere = replace(ONE, executor_id="one:2", boot_id="that boot")
    held = other.workers.begin(elsewhere, 30.0)
    assert held is not None
    assert held.process_id == 11
    let_it_end(ledger, "one:1")
    assert other.workers.begin(elsewhere, 30.0) is None


def test_a_process_that_starts_again_on_its_machine_need_not_wait(
    ledger: Ledger, other: Ledger
) -> None:
    ledger.workers.begin(ONE, 30.0)
    assert other.workers.begin(replace(ONE, executor_id="one:2"), 30.0) is None
    assert [each.executor_id for each in ledger.workers.alive()] == ["one:2"]
    with pytest.raises(LeaseLostError, match="worker one:1 was taken for dead"):
        ledger.workers.check()


def test_only_a_lease_that_is_over_is_struck_off(ledger: Ledger, other: Ledger) -> None:
    ledger.workers.begin(ONE, 30.0)
    other.workers.begin(TWO, 30.0)
    assert other.workers.strike_off() == ()
    let_it_end(ledger, "one:1")
    assert [each.executor_id for each in other.workers.strike_off()] == ["one:1"]


def test_a_late_renewal_counts_unless_somebody_was_quicker(ledger: Ledger, other: Ledger) -> None:
    ledger.workers.begin(ONE, 30.0)
    other.workers.begin(TWO, 30.0)
    let_it_end(ledger, "one:1")
    ledger.workers.renew(30.0)
    assert other.workers.strike_off() == ()
    let_it_end(ledger, "one:1")
    other.workers.strike_off()
    with pytest.raises(LeaseLostError):
        ledger.workers.renew(30.0)


DECISIONS = {
    "a job starts": lambda ledger, job: ledger.jobs.start(job),
    "a job tells how far it is": lambda ledger, job: ledger.jobs.progress(job, "forward", 0.5),
    "a job has results": lambda ledger, job: ledger.jobs.finish(job, "", {}, results(job), KINDS),
    "a job has failed": lambda ledger, job: ledger.jobs.fail(job, Failure("X", "late")),
    "a job is put off": lambda ledger, job: ledger.jobs.put_off(job, Failure("X", "late"), 9.0),
    "a study is routed": lambda ledger, _: ledger.studies.record_decision(STUDY, 1, {}, []),
    "a study has failed": lambda ledger, _: ledger.studies.fail(STUDY, 1, Failure("X", "late")),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_nothing_that_a_dead_worker_decides_counts(
    ledger: Ledger, other: Ledger, decision: str
) -> None:
    job = queue_job(ledger)
    ledger.workers.begin(ONE, 30.0)
    let_it_end(ledger, "one:1")
    other.workers.strike_off()
    before = (other.jobs.get("j1"), other.studies.get(STUDY))
    decide: Any = DECISIONS[decision]
    with pytest.raises(LeaseLostError):
        decide(ledger, job)
    assert (other.jobs.get("j1"), other.studies.get(STUDY)) == before


def test_a_dead_worker_cannot_end_a_delivery(ledger: Ledger, other: Ledger) -> None:
    job = queue_job(ledger)
    ledger.jobs.start(job)
    ledger.jobs.finish(job, "", {}, results(job), KINDS)
    tried = ledger.deliveries.due()[0]
    ledger.workers.begin(ONE, 30.0)
    let_it_end(ledger, "one:1")
    other.workers.strike_off()
    with pytest.raises(LeaseLostError):
        ledger.deliveries.failed(tried, Failure("X", "late"), 5.0)
    assert other.deliveries.get(tried.delivery_id) == tried


def test_what_arrives_at_a_dead_worker_is_kept_all_the_same(ledger: Ledger, other: Ledger) -> None:
    ledger.workers.begin(ONE, 30.0)
    let_it_end(ledger, "one:1")
    other.workers.strike_off()
    ledger.studies.record_instance(instance(), sha256="a", size_bytes=1)
    assert len(other.studies.instances_of(STUDY, 1)) == 1


def test_a_process_that_dies_under_a_job_is_counted(ledger: Ledger) -> None:
    job = queue_job(ledger)
    assert ledger.jobs.start(job)
    assert ledger.jobs.interruptions(job) == 0
    for _ in range(2):
        assert ledger.jobs.start(job)
    assert ledger.jobs.interruptions(job) == 2
    assert ledger.jobs.get("j1").state == JobState.RUNNING


def test_processes_that_start_together_make_the_tables_once(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    uids: list[str] = []

    def open_one() -> None:
        with closing(Ledger(url)) as opened:
            uids.append(opened.device_uid())

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(uids), len(set(uids))) == (6, 1)


def test_an_instance_that_comes_as_the_wait_ends_is_in_this_generation_or_the_next(
    postgres: PostgresServer,
) -> None:
    """Two gateways: one records, one ends the wait; whoever comes first, nothing is overlooked."""
    done = Completion("asked", 0.0, datetime.now(UTC))
    url = postgres.new_database()
    with closing(Ledger(url)) as one, closing(Ledger(url)) as two:
        for turn in range(20):
            study = f"1.2.{turn}"
            one.studies.record_instance(instance(1, study=study), sha256="1", size_bytes=1)
            seen: list[int] = []

            def end(study: str = study, seen: list[int] = seen) -> None:
                two.studies.mark_complete(study, 1, done)
                seen.append(len(two.studies.instances_of(study, 1)))

            thread = threading.Thread(target=end)
            thread.start()
            arrival = one.studies.record_instance(
                instance(2, study=study), sha256="2", size_bytes=1
            )
            thread.join()
            assert seen == ([2] if arrival.generation == 1 else [1])


def test_who_stands_still_in_a_transaction_loses_it_and_its_locks(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "IDLE_IN_TRANSACTION_SECONDS", 0.5)
    url = postgres.new_database()
    with closing(Ledger(url)) as still, closing(Ledger(url)) as other:
        with still.engine.connect() as held:
            database.one_at_a_time(held, "a study")
            with other.engine.begin() as waiting:
                database.one_at_a_time(waiting, "a study")
            with pytest.raises(DBAPIError, match="idle-in-transaction"):
                database.one_at_a_time(held, "another")
        with still.engine.begin() as again:
            database.one_at_a_time(again, "a study")


def test_a_password_comes_from_its_file(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    secret = tmp_path / "password"
    secret.write_text(f"{postgres.password}\n", encoding="utf-8")
    database = {"url": url.replace(f":{postgres.password}@", "@"), "password_file": str(secret)}
    config = parse_config({"database": database})
    assert postgres.password not in config.database.url
    Ledger(ledger_url(config)).close()
    secret.unlink()
    with pytest.raises(ConfigError, match=r"database\.password_file: cannot read"):
        ledger_url(config)

"""Durable execution: every task of the pipeline is a DBOS workflow with the task's key as its id.

The one module that knows DBOS. A task that was under way when the process died runs again at the
next start, or in another process that shares the database; one that was never started is listed by
`Pipeline.due` again. The same key never runs twice, so starting a task again is harmless.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import structlog
from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from sqlalchemy.engine import URL, make_url

from wetread import metrics
from wetread.config import Config
from wetread.errors import LeaseLostError, LedgerError, ShareAwayError, codes_for
from wetread.lease import Lease, end_process, lock_of, only_process
from wetread.ledger import ledger_url
from wetread.ledger.database import IDLE_IN_TRANSACTION_SECONDS, unavailable_as_ledger_error
from wetread.pipeline import Pipeline
from wetread.tasks import Kind, Task

log = structlog.get_logger()

# Raise it when the arguments or the step of `_perform` change: DBOS resumes its own version only.
APPLICATION_VERSION = "wetread-1"
POLLING_SECONDS = 0.25
_ONE_PROCESS = "stop it, or give this one another [spool] path or a PostgreSQL [database] url"
QUEUES = {Kind.STUDY: "studies", Kind.JOB: "jobs", Kind.DELIVERY: "deliveries"}

# DBOS finds workflows by name in the process, so what they work on is found there too.
_bound: list[Pipeline] = []
# Keys of the tasks that run in this process.
_running: set[str] = set()


def _nobody_answers(error: BaseException) -> bool:
    return isinstance(error, LedgerError | ShareAwayError)


# A ledger or a bucket that does not answer is all that a task raises; it is asked until it does.
@DBOS.step(
    retries_allowed=True,
    max_attempts=1000,
    interval_seconds=1.0,
    backoff_rate=1.1,
    should_retry=_nobody_answers,
)
def _run(kind: str, subject: str, number: int) -> list[dict[str, Any]]:
    key = Task(Kind(kind), subject, number).key
    _running.add(key)
    try:
        tasks = _bound[-1].run(Kind(kind), subject, number)
    except LeaseLostError as error:
        # An error of this task would be its end for everybody.
        end_process(error)
    except ShareAwayError as error:
        metrics.FAILURES.labels("share", codes_for(error).label).inc()
        log.error("the bucket does not answer", reason=str(error), hint=error.hint)
        raise
    finally:
        _running.discard(key)
    return [{name: getattr(task, name) for name in Task.__dataclass_fields__} for task in tasks]


@DBOS.workflow(name="perform")
def _perform(kind: str, subject: str, number: int) -> None:
    for values in _run(kind, subject, number):
        _enqueue(Task(**{**values, "kind": Kind(values["kind"])}))


def _enqueue(task: Task) -> None:
    options = SetEnqueueOptions(priority=task.priority, queue_partition_key=task.lane or None)
    with SetWorkflowID(task.key), options:
        DBOS.enqueue_workflow(
            QUEUES[task.kind], _perform, str(task.kind), task.subject, task.number
        )


class Durable:
    """Runs a pipeline's tasks, each once, through crashes. One at a time in a process.

    With a `lease`, several processes share one PostgreSQL; without, there is one on SQLite.
    """

    def __init__(self, pipeline: Pipeline, config: Config, lease: Lease | None = None) -> None:
        self._pipeline = pipeline
        self._config = config
        self._lease = lease
        self._lock: IO[str] | None = None
        self._given: set[str] = set()

    def start(self) -> None:
        """Resume what a crash cut short, then take tasks.

        Raises ConfigError if another wetread runs on the same spool and SQLite files, or under the
        same name, LedgerError if the database cannot be opened.
        """
        url = make_url(workflow_url(self._config))
        if self._lease is not None:
            self._lease.take()
        else:
            folder = self._config.spool.path
            self._lock = only_process(lock_of(folder), f"runs on {folder}", _ONE_PROCESS)
            _use_write_ahead_log(url)
        _bound.append(self._pipeline)
        settings = DBOSConfig(
            name="wetread",
            system_database_url=url.render_as_string(hide_password=False),
            application_version=APPLICATION_VERSION,
            executor_id=self._lease.executor_id if self._lease else "gateway",
            log_level="ERROR",
            sys_db_idle_transaction_timeout_sec=IDLE_IN_TRANSACTION_SECONDS,
        )
        DBOS(config=settings)
        if not self._config.workers.jobs:
            DBOS.listen_queues([QUEUES[Kind.STUDY], QUEUES[Kind.DELIVERY]])
        with unavailable_as_ledger_error():
            DBOS.launch()
            self._register_queues()
        if self._lease is not None:
            self._lease.keep(_recover)

    def _register_queues(self) -> None:
        config = self._config
        per_destination = max((to.max_concurrent for to in config.destinations.values()), default=1)
        always: dict[str, Any] = {
            "polling_interval_sec": POLLING_SECONDS,
            "on_conflict": "always_update",
        }
        DBOS.register_queue(QUEUES[Kind.STUDY], worker_concurrency=4, **always)
        if config.workers.jobs:
            DBOS.register_queue(QUEUES[Kind.JOB], worker_concurrency=config.workers.jobs, **always)
        DBOS.register_queue(QUEUES[Kind.DELIVERY], partition_concurrency=per_destination, **always)

    def give(self, tasks: Iterable[Task]) -> None:
        """Start those of `tasks` that were not started before.

        Raises LedgerError if the database does not answer.
        """
        due = {task.key: task for task in tasks}
        with unavailable_as_ledger_error():
            for key in due.keys() - self._given:
                _enqueue(due[key])
        self._given = set(due)

    def stop(self, wait_seconds: int = 10) -> None:
        """Let running tasks end for up to `wait_seconds`; the rest runs again later."""
        DBOS.destroy(workflow_completion_timeout_sec=wait_seconds)
        if self._pipeline in _bound:
            _bound.remove(self._pipeline)
        if self._lease is not None:
            self._lease.stop(wait_seconds)
            self._lease.give_back(idle=not _running)
        if self._lock is not None:
            self._lock.close()


def _recover(alive: Callable[[], frozenset[str]]) -> None:
    """Let go on with what processes were at that are not alive. Raises LedgerError.

    A process is alive before it takes a task, and never again once it was not: whoever is named at
    a task and is missing in a later look at the living is dead.
    """
    with unavailable_as_ledger_error():
        under_way = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        owners = {each.executor_id for each in under_way if each.executor_id}
        dead = owners - alive()
        if dead:
            log.warning("tasks of dead workers go on", workers=sorted(dead))
            DBOS._recover_pending_workflows(sorted(dead))


def workflow_url(config: Config) -> str:
    """DBOS's database: the configured server, else a SQLite file of its own beside the ledger's."""
    url = make_url(ledger_url(config))
    if url.get_backend_name() != "sqlite":
        return ledger_url(config)
    file = Path(url.database or "")
    return f"sqlite:///{file.with_name(file.stem + '-workflows.sqlite3')}"


def _use_write_ahead_log(url: URL) -> None:
    # The mode is a property of the file, so setting it once before DBOS opens it is enough.
    connection = sqlite3.connect(str(url.database))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()

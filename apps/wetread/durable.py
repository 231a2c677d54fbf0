"""Durable execution: every task of the pipeline is a DBOS workflow with the task's key as its id.

The one module that knows DBOS. A task that was under way when the process died runs again at the
next start; one that was never started is listed by `Pipeline.due` again. The same key never runs
twice, so starting a task again is harmless.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from sqlalchemy.engine import URL, make_url

from wetread.config import Config
from wetread.errors import ConfigError, LedgerError
from wetread.ledger import ledger_url
from wetread.pipeline import Kind, Pipeline, Task

# Raise it when the arguments or the step of `_perform` change: DBOS resumes its own version only.
APPLICATION_VERSION = "wetread-1"
POLLING_SECONDS = 0.25
QUEUES = {Kind.STUDY: "studies", Kind.JOB: "jobs", Kind.DELIVERY: "deliveries"}

# DBOS finds workflows by name in the process, so what they work on is found there too.
_bound: list[Pipeline] = []


def _is_ledger_silent(error: BaseException) -> bool:
    return isinstance(error, LedgerError)


# The one error that a task raises is a ledger that does not answer; it is asked until it does.
@DBOS.step(
    retries_allowed=True,
    max_attempts=1000,
    interval_seconds=1.0,
    backoff_rate=1.1,
    should_retry=_is_ledger_silent,
)
def _run(kind: str, subject: str, number: int) -> list[dict[str, Any]]:
    tasks = _bound[-1].run(Kind(kind), subject, number)
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
    """Runs a pipeline's tasks, each once, through crashes. One at a time in a process."""

    def __init__(self, pipeline: Pipeline, config: Config, *, executor_id: str = "gateway") -> None:
        self._pipeline = pipeline
        self._config = config
        self._executor_id = executor_id
        self._lock: IO[str] | None = None
        self._given: set[str] = set()

    def start(self) -> None:
        """Resume what a crash cut short, then take tasks.

        Raises ConfigError if another wetread runs on the same spool and SQLite files.
        """
        url = make_url(workflow_url(self._config))
        if url.get_backend_name() == "sqlite":
            self._lock = _only_process(self._config.spool.path / "wetread.lock")
            _use_write_ahead_log(url)
        _bound.append(self._pipeline)
        settings = DBOSConfig(
            name="wetread",
            system_database_url=url.render_as_string(hide_password=False),
            application_version=APPLICATION_VERSION,
            executor_id=self._executor_id,
            log_level="ERROR",
        )
        DBOS(config=settings)
        DBOS.launch()
        self._register_queues()

    def _register_queues(self) -> None:
        config = self._config
        per_destination = max((to.max_concurrent for to in config.destinations.values()), default=1)
        always: dict[str, Any] = {
            "polling_interval_sec": POLLING_SECONDS,
            "on_conflict": "always_update",
        }
        DBOS.register_queue(QUEUES[Kind.STUDY], worker_concurrency=4, **always)
        DBOS.register_queue(QUEUES[Kind.JOB], worker_concurrency=config.workers.jobs, **always)
        DBOS.register_queue(QUEUES[Kind.DELIVERY], partition_concurrency=per_destination, **always)

    def give(self, tasks: Iterable[Task]) -> None:
        """Start those of `tasks` that were not started before."""
        due = {task.key: task for task in tasks}
        for key in due.keys() - self._given:
            _enqueue(due[key])
        self._given = set(due)

    def stop(self, wait_seconds: int = 10) -> None:
        """Let running tasks end for up to `wait_seconds`; the rest runs again at the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=wait_seconds)
        if self._pipeline in _bound:
            _bound.remove(self._pipeline)
        if self._lock is not None:
            self._lock.close()


def workflow_url(config: Config) -> str:
    """DBOS's database: the configured server, else a SQLite file of its own beside the ledger's."""
    url = make_url(ledger_url(config))
    if url.get_backend_name() != "sqlite":
        return config.database.url
    file = Path(url.database or "")
    return f"sqlite:///{file.with_name(file.stem + '-workflows.sqlite3')}"


def _only_process(path: Path) -> IO[str]:
    """Hold a lock file: two processes on one SQLite database would run tasks twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ConfigError(
            f"another wetread (process {owner}) runs on {path.parent}",
            hint="stop it, or give this one another [spool] path or a PostgreSQL [database] url",
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _use_write_ahead_log(url: URL) -> None:
    # The mode is a property of the file, so setting it once before DBOS opens it is enough.
    connection = sqlite3.connect(str(url.database))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()

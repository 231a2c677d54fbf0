"""Trainings, batches and scorings: each a process, one at a time, with the reason if it fails.

MONAI Label's own runner leaves off reading when the process ends, which loses its last words, and
lets a second one in while the first has not begun. This one keeps its books, which its status and
`/info/` read.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psutil
from monailabel.utils.async_tasks.utils import background_processes, background_tasks

from lib.guard.reasons import reason_of
from lib.guard.refusals import TooManyError

log = logging.getLogger(__name__)

SUBMITTED, RUNNING, DONE, ERROR, STOPPED = "SUBMITTED", "RUNNING", "DONE", "ERROR", "STOPPED"
MOST_KEPT = 100
MOST_LINES = 200
_lock = threading.Lock()
_executors: dict[str, ThreadPoolExecutor] = {}

Task = dict[str, Any]


def start(method: str, request: Mapping[str, Any], *, in_line: bool = False) -> Task:
    """Begin, or with `in_line` after those before it. Raises TooManyError while another runs."""
    task: Task = {
        "id": str(uuid.uuid4()),
        "status": SUBMITTED,
        "request": dict(request),
        "start_ts": _now(),
        "details": deque(maxlen=MOST_LINES),
    }
    with _lock:
        if not in_line and unfinished(method):
            raise TooManyError(
                f"another {method} runs", hint="wait for it, or stop it", retry_seconds=30
            )
        tasks = background_tasks.setdefault(method, [])
        del tasks[:-MOST_KEPT]
        tasks.append(task)
        background_processes.setdefault(method, {})
        executor = _executors.setdefault(method, ThreadPoolExecutor(1))
    executor.submit(_run, method, task)
    return task


def stop(method: str) -> Task | None:
    """End what runs and drop what waits; returns the one that ran, if one did."""
    with _lock:
        stopped = unfinished(method)
        running = [each for each in stopped if each["status"] == RUNNING]
        for task in stopped:
            task.update(status=STOPPED, end_ts=_now())
    for process in list(background_processes.get(method, {}).values()):
        _kill(process.pid)
    return next(iter(running or stopped), None)


def unfinished(method: str) -> list[Task]:
    """What runs, then what waits."""
    tasks = [each for each in background_tasks.get(method, []) if _is_unfinished(each)]
    return sorted(tasks, key=lambda each: each["status"] != RUNNING)


def latest(method: str) -> Task | None:
    """What runs or waits, else what ended last."""
    tasks: list[Task] = background_tasks.get(method, [])
    return next(iter(unfinished(method) or tasks[-1:]), None)


def every(method: str) -> list[Task]:
    """All that are kept, the oldest first."""
    return list(background_tasks.get(method, []))


def _run(method: str, task: Task) -> None:
    with _lock:
        if task["status"] != SUBMITTED:
            return
        task["status"] = RUNNING
    code = -signal.SIGKILL
    try:
        code = _watched(method, task)
    except OSError as error:
        task["details"].append(f"OSError: {error}")
    with _lock:
        if task["status"] == RUNNING:
            task["status"] = DONE if code == 0 else ERROR
            task["end_ts"] = _now()
            if code != 0:
                task["error"] = reason_of(list(task["details"]), code)
                log.error("%s failed: %s", method, task["error"])


def _watched(method: str, task: Task) -> int:
    words = logging.getLogger(f"task_{method}")
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "monailabel.interfaces.utils.app"),
            *("-m", method, "-r", json.dumps(task["request"])),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false"},
    ) as process:
        background_processes[method][task["id"]] = process
        try:
            if task["status"] == STOPPED:
                _kill(process.pid)
            for line in process.stdout or ():
                if line.strip():
                    words.info(line.rstrip())
                    task["details"].append(line.rstrip())
            return process.wait()
        finally:
            background_processes[method].pop(task["id"], None)


def _kill(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            each.kill()
    except psutil.NoSuchProcess:
        log.info("process %d has ended by itself", pid)


def _is_unfinished(task: Task) -> bool:
    return task["status"] in (SUBMITTED, RUNNING)


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")

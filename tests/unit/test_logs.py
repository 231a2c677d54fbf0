"""Logs: one JSON event a line on stderr; never a patient's name or ID, whatever goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from command_line import WETREAD, Ended, in_process, write_settings
from network.neighbours import free_port
from phantom import write_series
from tiny_model import TinyModel
from wetread.dicom.network import Peer, open_association

NAME, PATIENT_ID = "Zyxwvut^Quentin", "ID-90817263"
SECRETS = ("Zyxwvut", "Quentin", "90817263", "Elsewhere", "19700102")
DEAD_END = """
[metrics]
port = {metrics}
[destinations.away]
kind = "dicom"
host = "127.0.0.1"
port = {away}
called_ae_title = "NOBODY"
timeout_seconds = 1.0
max_attempts = 2
first_retry_seconds = 0.1
max_retry_seconds = 0.2
[[rules]]
name = "grown-up MR"
when.modality = "MR"
when.min_patient_age_years = 18
run = ["tiny"]
send_results_to = ["away"]
"""


def write_patient(folder: Path, change: Callable[[Dataset], None] = lambda _: None) -> list[Path]:
    """A CT series of the patient, each file changed."""
    series = write_series(folder, shape=(4, 16, 16), patient_name=NAME, seed=folder.name)
    return [rewritten(path, change) for path in series.paths]


def rewritten(path: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = dcmread(path)
    dataset.PatientID, dataset.PatientAddress = PATIENT_ID, "Elsewhere 12"
    dataset.OtherPatientNames = NAME
    change(dataset)
    dataset.save_as(path)
    return path


def without_study_uid(dataset: Dataset) -> None:
    del dataset.StudyInstanceUID


def as_mr_of_unknown_age(dataset: Dataset) -> None:
    dataset.Modality = "MR"


@dataclass
class Run:
    """A gateway as its own process, and what it said once it is stopped."""

    settings: Path
    port: int
    metrics_port: int
    log: Path
    command: Callable[..., Ended]

    def send(self, paths: list[Path], caller: str = "CT_ROOM1") -> list[int | None]:
        peer = Peer("gateway", "127.0.0.1", self.port, "WETREAD", caller)
        contexts = [("1.2.840.10008.5.1.4.1.1.2", ["1.2.840.10008.1.2.1"])]
        with open_association(peer, contexts) as association:
            return [association.send_c_store(path).get("Status") for path in paths]

    def ask(self, *arguments: str) -> str:
        done = self.command(*arguments, "-c", self.settings)
        assert done.exit_code == 0, done.err
        return done.out + done.err

    def listed(self, book: str, key: str) -> list[str]:
        return [row[key] for row in json.loads(self.ask(book, "list", "--json"))]

    def wait(self, book: str, states: set[str], count: int) -> None:
        """Until the book has `count` rows, all in those states."""
        deadline = time.monotonic() + 40
        while len(found := self.listed(book, "state")) < count or not set(found) <= states:
            assert time.monotonic() < deadline, found
            time.sleep(0.3)


@contextmanager
def gateway(folder: Path, tiny: TinyModel, command: Callable[..., Ended]) -> Iterator[Run]:
    port, metrics_port = free_port(), free_port()
    extra = DEAD_END.format(metrics=metrics_port, away=free_port())
    settings = write_settings(folder, tiny, extra=extra)
    text = settings.read_text(encoding="utf-8").replace("port = 0", f"port = {port}", 1)
    settings.write_text(
        text.replace('send_results_to = ["inbox"]', 'send_results_to = ["inbox", "away"]'),
        encoding="utf-8",
    )
    log = folder / "log"
    with log.open("w") as stderr:
        running = subprocess.Popen([WETREAD, "--verbose", "serve", "-c", settings], stderr=stderr)
        try:
            while "listening" not in log.read_text(encoding="utf-8"):
                assert running.poll() is None, log.read_text(encoding="utf-8")
                time.sleep(0.1)
            yield Run(settings, port, metrics_port, log, command)
        finally:
            running.terminate()
            running.wait(20)


@pytest.mark.timeout(120)
def test_a_patient_is_nowhere_in_logs_metrics_and_commands(
    tmp_path: Path,
    tiny_ct: TinyModel,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Good and bad series, a bad instance, a stranger, a rule that fails, a dead destination."""
    good = write_patient(tmp_path / "good")
    gap = write_patient(tmp_path / "gap")
    nameless = write_patient(tmp_path / "nameless", without_study_uid)
    ageless = write_patient(tmp_path / "ageless", as_mr_of_unknown_age)
    for path in ageless:
        path.write_bytes(path.read_bytes().replace(b"055Y", b"Zyxw"))
    command = partial(in_process, capsys, monkeypatch)
    with gateway(tmp_path, tiny_ct, command) as run:
        assert set(run.send(good)) == {0}
        assert set(run.send(gap[:2] + gap[3:])) == {0}
        assert set(run.send(ageless)) == {0}
        assert 0 not in run.send(nameless)
        with pytest.raises(Exception, match="calling AE title not recognised"):
            run.send(good, caller="STRANGER")
        run.wait("studies", {"routed", "failed"}, 3)
        run.wait("jobs", {"done", "failed"}, 2)
        run.wait("deliveries", {"delivered", "dead"}, 6)
        shown = [
            run.ask(book, "show", subject, *json_too)
            for book, key in (("studies", "study"), ("jobs", "job"))
            for subject in run.listed(book, key)
            for json_too in ((), ("--json",))
        ]
        metrics = httpx.get(f"http://127.0.0.1:{run.metrics_port}/metrics").text
        said = {"log": "", "metrics": metrics, "shown": "\n".join(shown)}
        said["deliveries"] = run.ask("deliveries", "list")
    said["log"] = run.log.read_text(encoding="utf-8")
    assert_all_happened(said)
    received = b"".join(path.read_bytes() for path in (tmp_path / "spool").rglob("*.dcm"))
    assert all(secret.encode() in received for secret in SECRETS)
    found = {
        (place, secret) for place, text in said.items() for secret in SECRETS if secret in text
    }
    assert found == set()


def assert_all_happened(said: dict[str, str]) -> None:
    """Without it, silence would pass for discretion."""
    events = [json.loads(line) for line in said["log"].splitlines()]
    reasons = " ".join(str(each.get("reason")) for each in events)
    assert "gap of" in reasons
    assert "cannot be evaluated" in reasons
    assert "NOBODY" in reasons
    assert 'wetread_failures_total{error="geometry"' in said["metrics"]
    assert "wetread_instances_refused_total" in said["metrics"]
    assert "dead" in said["deliveries"]


def logged(statements: str, *, verbose: bool = False) -> list[dict[str, object]]:
    """What a process of its own logs to a stderr that is no terminal."""
    program = (
        "import logging, structlog, warnings\n"
        "from wetread.logs import configure_logs\n"
        f"configure_logs(verbose={verbose})\n"
        f"{statements}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_an_event_is_one_json_line_with_level_and_utc_time() -> None:
    [event] = logged("structlog.get_logger().info('study complete', instances=212)")
    assert str(event.pop("timestamp")).endswith("Z")
    assert event == {"event": "study complete", "level": "info", "instances": 212}


@pytest.mark.parametrize(("verbose", "count"), [(False, 0), (True, 1)])
def test_debug_events_are_for_verbose(verbose: bool, count: int) -> None:
    assert len(logged("structlog.get_logger().debug('seen')", verbose=verbose)) == count


def test_an_unforeseen_error_keeps_its_traceback_in_one_line() -> None:
    [event] = logged(
        "try:\n    1 / 0\n"
        "except ZeroDivisionError:\n    structlog.get_logger().error('failed', exc_info=True)"
    )
    assert "ZeroDivisionError: division by zero" in str(event["exception"])


def test_libraries_that_repeat_values_are_silent() -> None:
    """pydicom warns with the value of an attribute that it dislikes, a name among them."""
    statements = (
        "from pydicom import Dataset\n"
        "header = Dataset()\n"
        "header.PatientName = 'Z' * 80\n"
        "header.PatientID = 'Z' * 80\n"
        "logging.getLogger('pydicom').error('ZZZ')\n"
        "logging.getLogger('pynetdicom.acse').error('ZZZ')\n"
    )
    assert logged(statements) == []

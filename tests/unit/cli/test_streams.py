"""The command as its own process: streams, exit codes, signals; nothing shows a traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import WETREAD, in_shell, write_settings
from gateway import send
from network.neighbours import free_port
from phantom import write_series
from tiny_model import TinyModel
from wetread import __version__

pytestmark = pytest.mark.timeout(120)


@contextmanager
def serving(settings: Path) -> Iterator[subprocess.Popen[str]]:
    """`wetread serve`, once it says that it listens; stopped at the end."""
    with subprocess.Popen(
        [WETREAD, "serve", "--config", settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        line = running.stderr.readline()
        assert "listening" in line, line + running.stderr.read()
        try:
            yield running
        finally:
            running.terminate()


def settings_on(folder: Path, tiny: TinyModel, port: int) -> Path:
    file = write_settings(folder, tiny)
    text = file.read_text(encoding="utf-8").replace("port = 0", f"port = {port}", 1)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_gateway_logs_json_on_stderr_and_ends_well_when_told(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    port = free_port()
    settings = settings_on(tmp_path, tiny_ct, port)
    series = write_series(tmp_path / "study", shape=(4, 16, 16))
    with serving(settings) as running:
        send(series.paths, port)
        deadline = time.monotonic() + 30
        while len(list((tmp_path / "inbox").rglob("*.dcm"))) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=20)
    assert (running.returncode, out) == (0, "")
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert {"study complete", "study routed", "job done", "delivered"} <= set(events)


def test_beside_a_running_gateway(tmp_path: Path, tiny_ct: TinyModel) -> None:
    """Its ledger can be read, and neither its spool nor its port can be shared."""
    port = free_port()
    settings = settings_on(tmp_path, tiny_ct, port)
    with serving(settings) as running:
        listed = in_shell("studies", "list", "-c", settings, folder=tmp_path)
        second = in_shell("serve", "-c", settings, folder=tmp_path)
        elsewhere = settings_on(tmp_path / "two", tiny_ct, port)
        third = in_shell("serve", "-c", elsewhere, folder=tmp_path)
    assert (listed.exit_code, listed.out, listed.err) == (0, "studies: none\n", "")
    assert second.is_error(2, f"another wetread (process {running.pid}) runs on")
    assert third.is_error(2, f"cannot listen on 127.0.0.1:{port}")


def test_data_goes_to_stdout_and_a_fact_to_stderr(tmp_path: Path) -> None:
    done = in_shell("check", "config", "-c", "none.toml", folder=tmp_path)
    assert (done.out, done.is_error(2, "none.toml")) == ("", True)
    assert in_shell("--version", folder=tmp_path).out == f"{__version__}\n"


@pytest.mark.parametrize(
    "command", [("nonsense",), ("infer",), ("infer", "x"), ("jobs", "list", "--limit", "0")]
)
def test_a_command_that_does_not_exist_is_a_usage_error(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = in_shell(*command, folder=tmp_path)
    assert (done.exit_code, done.out) == (2, "")
    assert "Usage: wetread" in done.err
    assert "Traceback" not in done.err


def test_a_reader_that_went_away_is_no_traceback(tmp_path: Path) -> None:
    Path(tmp_path / "wetread.toml").write_text("", encoding="utf-8")
    command = f"{WETREAD} check config | true"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""

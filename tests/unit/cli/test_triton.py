"""`wetread triton …`: a server that begins, says what it serves, and ends when it is told to."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import WETREAD
from gateway import eventually
from tiny_classifier import NAME as CLASSIFIER
from tiny_model import NETWORK as SEGMENTER
from triton_server import (
    ENVIRONMENT,
    RunningTriton,
    only_spec,
    process_tree,
    region_prefix,
    regions,
    write_served,
)

from .conftest import Run

FREE_PORTS = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")


@pytest.fixture
def repository(triton_server: RunningTriton, tmp_path: Path) -> Path:
    """A copy of the tiny networks."""
    copy = tmp_path / "triton_models"
    for model in (triton_server.segmenter, triton_server.classifier):
        spec = only_spec(model)
        write_served(copy, spec, triton_server.repository / spec.name / "1" / "model.onnx")
    return copy


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, in the folder that holds triton_models/."""
    words = [WETREAD, "triton", "serve", "--environment", ENVIRONMENT, *FREE_PORTS, *options]
    with subprocess.Popen(
        words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        try:
            yield command
        finally:
            command.terminate()


def said_until_it_serves(command: subprocess.Popen[str]) -> str:
    """What it prints up to the line with its doors."""
    assert command.stdout
    said = ""
    for line in command.stdout:
        said += line
        if line.startswith("grpc "):
            return said
    raise AssertionError(command.communicate())


def rows(said: str) -> dict[str, list[str]]:
    """The table that it printed: model → state, seconds, difference, why."""
    lines = (line.split("│")[1:-1] for line in said.splitlines() if line.startswith("│"))
    return {name: cells for name, *cells in ([cell.strip() for cell in line] for line in lines)}


def servers_of(command: subprocess.Popen[str]) -> list[int]:
    """The Triton servers that it started."""
    path = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    return [int(child) for child in path.read_text().split()]


@pytest.mark.timeout(90)
def test_a_server_does_not_outlive_a_command_that_is_killed(repository: Path) -> None:
    with serving(repository.parent) as command:
        said_until_it_serves(command)
        [server] = servers_of(command)
        command.kill()
        eventually(lambda: process_tree(server) == [], seconds=30)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_in_peace_when_it_is_told_to(
    repository: Path, number: signal.Signals
) -> None:
    with serving(repository.parent) as command:
        said = said_until_it_serves(command)
        [server] = servers_of(command)
        prefix = region_prefix(server)
        assert regions(prefix)
        command.send_signal(number)
        _, errors = command.communicate(timeout=60)
    assert (command.returncode, errors) == (0, "")
    for state, seconds, difference, why in (rows(said)[name] for name in (SEGMENTER, CLASSIFIER)):
        assert (state, difference, why) == ("ready", "0.0e+00", "")
        assert 0 < float(seconds) < 60
    assert process_tree(server) == []
    assert regions(prefix) == set()
    assert "Started GRPCInferenceService" in (repository.parent / "triton.log").read_text()


@pytest.mark.timeout(90)
def test_a_server_that_is_stopped_while_it_starts_leaves_nothing(repository: Path) -> None:
    """The stub of the first model is told to take its time."""
    slow = repository / SEGMENTER / "1" / "model.py"
    slow.write_text(
        "import time\nfrom pathlib import Path\nPath(__file__).with_name('begun').touch()"
        "\ntime.sleep(3600)\n"
    )
    with serving(repository.parent) as command:
        begun = slow.with_name("begun")
        while not begun.exists():
            assert command.poll() is None
        [server] = servers_of(command)
        prefix = region_prefix(server)
        assert regions(prefix)
        command.terminate()
        _, errors = command.communicate(timeout=60)
    assert (command.returncode, errors) == (0, "")
    assert process_tree(server) == []
    assert regions(prefix) == set()


@pytest.mark.timeout(90)
def test_one_corrupt_network_is_shown_with_its_reason_beside_the_others(repository: Path) -> None:
    (repository / SEGMENTER / "1" / "model.onnx").write_bytes(b"no network")
    with serving(repository.parent) as command:
        said = said_until_it_serves(command)
    state, *_, why = rows(said)[SEGMENTER]
    assert state == "failed"
    assert f"cannot load {SEGMENTER}" in why
    assert "model.onnx" in why
    assert rows(said)[CLASSIFIER][0] == "ready"


@pytest.mark.timeout(90)
def test_only_the_named_models_are_served(repository: Path) -> None:
    with serving(repository.parent, "--model", CLASSIFIER) as command:
        said = said_until_it_serves(command)
    assert set(rows(said)) == {CLASSIFIER}


@pytest.mark.timeout(90)
def test_a_server_that_dies_ends_the_command_with_its_last_words(repository: Path) -> None:
    with serving(repository.parent) as command:
        said_until_it_serves(command)
        [server] = servers_of(command)
        subprocess.run(["kill", "-KILL", str(server)], check=True)
        _, errors = command.communicate(timeout=60)
    assert command.returncode == 5
    assert errors.startswith("error: the Triton server ended with -9")
    assert "hint: its whole log is triton.log" in errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--repository", "nowhere"), "no model in"),
        (("--repository", "nowhere", "--model", "x"), "no model repository"),
        (("--environment", "nowhere"), "holds no Triton server"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(
    wetread: Run, repository: Path, options: tuple[str, ...], words: str
) -> None:
    ended = wetread("triton", "serve", "--environment", ENVIRONMENT, *FREE_PORTS, *options)
    assert ended.is_error(2, words), ended


def test_an_environment_that_is_there_is_not_made_again(wetread: Run) -> None:
    ended = wetread("triton", "install", "--environment", ENVIRONMENT)
    assert (ended.exit_code, ended.out) == (0, f"{ENVIRONMENT}\n")


def test_a_folder_of_something_else_is_no_place_for_an_environment(
    wetread: Run, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    ended = wetread("triton", "install", "--environment", tmp_path)
    assert ended.is_error(2, "is not empty")

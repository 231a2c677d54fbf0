"""`wetread init` writes settings that are whole; `wetread doctor` says what is in their way."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import Ended, write_settings
from gateway import running_gateway
from network.neighbours import free_port
from tiny_model import TinyModel
from wetread import doctor
from wetread.config import DicomDestination, DicomwebDestination, FolderDestination, load_config
from wetread.models.manifest import seal

Run = Callable[..., Ended]


@pytest.fixture
def init(wetread: Run, tiny_ct: TinyModel, tmp_path: Path) -> Run:
    """`wetread init` without a terminal, with what it cannot guess; more options may follow."""
    places = ["--bundles", tiny_ct.bundle.parent, "--repository", tiny_ct.repository]
    file = tmp_path / "wetread.toml"

    def command(*more: object, caller: str = "CT_ROOM1") -> Ended:
        who = ["--caller", caller] if caller else []
        return wetread("init", "--config", file, *places, *who, *more)

    return command


def test_a_first_settings_file_reads_what_the_bundles_accept(init: Run, tmp_path: Path) -> None:
    done = init("--port", 11113, "--ae-title", "READER")
    assert done.exit_code == 0
    assert "wetread doctor" in done.out
    config = load_config(tmp_path / "wetread.toml", {})
    assert (config.listener.ae_title, config.listener.port) == ("READER", 11113)
    assert config.listener.accept_calling_ae_titles == ("CT_ROOM1",)
    [rule] = config.rules
    assert (rule.run, rule.when.modality, rule.when.min_instances) == (
        ("tiny_ellipsoid",),
        ("CT",),
        3,
    )
    assert rule.send_results_to == ("results",)
    assert config.spool.path == tmp_path / "spool"
    assert config.retention.keep_days == 30


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("PACS@10.0.0.5:104", DicomDestination),
        ("PACS@[::1]:104", DicomDestination),
        ("https://pacs.example/dicom-web", DicomwebDestination),
        ("out", FolderDestination),
    ],
)
def test_a_destination_is_of_the_kind_that_it_looks_like(
    init: Run, tmp_path: Path, text: str, kind: type
) -> None:
    assert init("--destination", text).exit_code == 0
    [(name, destination)] = load_config(tmp_path / "wetread.toml", {}).destinations.items()
    assert isinstance(destination, kind)
    assert name == ("results" if kind is FolderDestination else "pacs")


def test_the_viewer_shows_the_archive_that_is_named(init: Run, tmp_path: Path) -> None:
    studies = "http://127.0.0.1:8042/dicom-web"
    assert init("--studies", studies).exit_code == 0
    assert load_config(tmp_path / "wetread.toml", {}).viewer.studies == studies
    assert init("--force").exit_code == 0
    assert load_config(tmp_path / "wetread.toml", {}).viewer.studies == ""


@pytest.mark.parametrize("text", ["PACS@10.0.0.5", "PACS@10.0.0.5:pacs", "@10.0.0.5:104"])
def test_half_a_destination_is_refused(init: Run, tmp_path: Path, text: str) -> None:
    assert init("--destination", text).is_error(2, text, "is not TITLE@host:port")
    assert not (tmp_path / "wetread.toml").exists()


def test_who_may_send_is_not_guessed(init: Run) -> None:
    assert init(caller="").is_error(2, "nobody may send")


def test_what_the_settings_would_refuse_is_not_written(init: Run, tmp_path: Path) -> None:
    assert init("--ae-title", "A_TITLE_OF_TOO_MANY_LETTERS").is_error(2, "listener.ae_title")
    assert not (tmp_path / "wetread.toml").exists()


def test_a_file_that_is_there_is_kept(init: Run, tmp_path: Path) -> None:
    (tmp_path / "wetread.toml").write_text("# mine\n", encoding="utf-8")
    assert init().is_error(2, "is there already")
    assert (tmp_path / "wetread.toml").read_text(encoding="utf-8") == "# mine\n"
    assert init("--force").exit_code == 0


@pytest.fixture
def examined(wetread: Run, tiny_ct: TinyModel, tmp_path: Path, monkeypatch: Any) -> Any:
    """What the doctor finds with these settings, by name; the clock is that of the test machine."""
    monkeypatch.setattr(doctor, "clock", lambda: "held in step by a time server")

    def looked(extra: str = "", **changes: tuple[str, str]) -> tuple[int, dict[str, Any]]:
        file = write_settings(tmp_path, tiny_ct, extra)
        text = file.read_text(encoding="utf-8")
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
        done = wetread("doctor", "--config", file, "--json")
        return done.exit_code, {each["what"]: each for each in done.json}

    return looked


def test_where_all_is_well_each_line_is_a_fact(examined: Any) -> None:
    code, found = examined()
    assert (code, [each for each in found.values() if not each["ok"]]) == (0, [])
    assert found["database"]["fact"].endswith("ledger.sqlite3, made at the first start")
    assert found["model tiny"]["fact"].startswith("version 0.0.1, weights ")
    assert found["destination inbox"]["fact"]
    assert int(found["libraries"]["fact"].split()[0]) > 15


def wrong(examined: Any, what: str, *arguments: Any, **changes: tuple[str, str]) -> dict[str, Any]:
    code, found = examined(*arguments, **changes)
    assert [each["what"] for each in found.values() if not each["ok"]] == [what]
    assert code == 2
    assert found[what]["hint"]
    return found[what]


def test_a_port_that_another_program_has(examined: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        it = wrong(examined, "port of listener", port=("port = 0", f"port = {port}"))
    assert f"127.0.0.1:{port} cannot be had: Address already in use" in it["fact"]
    assert "[listener] port" in it["hint"]


def test_a_disk_that_is_too_full(examined: Any) -> None:
    least = ("min_free_bytes = 0", "min_free_bytes = 9_000_000_000_000_000")
    it = wrong(examined, "spool", least=least)
    assert "9000000.0 GB must stay free" in it["fact"]


def test_a_destination_that_is_not_there(examined: Any) -> None:
    to = f'kind = "dicom"\nhost = "127.0.0.1"\nport = {free_port()}\ncalled_ae_title = "PACS"'
    it = wrong(examined, "destination inbox", to=('kind = "folder"\npath = "inbox"', to))
    assert "PACS at 127.0.0.1" in it["fact"]


def test_a_bundle_that_was_changed(examined: Any, tiny_ct: TinyModel) -> None:
    path = seal(tiny_ct.bundle)
    metadata = tiny_ct.bundle / "configs/metadata.json"
    before = metadata.read_bytes()
    try:
        metadata.write_bytes(before + b"\n")
        it = wrong(examined, "model tiny")
    finally:
        metadata.write_bytes(before)
        path.unlink()
    assert "configs/metadata.json differs from SHA256SUMS" in it["fact"]


def test_a_ledger_that_is_none(examined: Any, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool/ledger.sqlite3").write_bytes(b"no database" * 100)
    assert "file is not a database" in wrong(examined, "database")["fact"]


def test_rules_that_run_nothing(examined: Any) -> None:
    it = wrong(examined, "rules", run=('run = ["tiny"]', "run = []"))
    assert "no study is read" in it["fact"]


def test_a_library_of_another_release(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version
    monkeypatch.setattr(
        doctor, "version", lambda name: "0.1" if name == "highdicom" else real(name)
    )
    it = wrong(examined, "libraries")
    assert it["fact"].startswith("highdicom is 0.1, wanted is >=")
    assert it["hint"] == "pip install 'wetread'"


def test_a_gateway_that_runs_has_its_own_port(
    examined: Any, tiny_ct: TinyModel, tmp_path: Path
) -> None:
    port = free_port()
    change = ("port = 0", f"port = {port}")
    file = write_settings(tmp_path, tiny_ct)
    file.write_text(file.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    with running_gateway(load_config(file, {})):
        code, found = examined(port=change)
    assert code == 0
    taken = f"127.0.0.1:{port} is taken, by the gateway that runs, process {os.getpid()}"
    assert found["port of listener"]["fact"] == taken

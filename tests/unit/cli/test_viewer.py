"""`wetread viewer …`: served until it is told to stop; an address for a study."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import httpx
from fastapi import FastAPI

from command_line import WETREAD
from conftest import ROOT
from network.neighbours import free_port, http_serving
from unit.access.people import people_of
from wetread.ledger import Ledger

from .conftest import Run

OHIF = ROOT / ".cache/ohif"
# Nobody is asked before a page asks.
ARCHIVE = "http://127.0.0.1:9/dicom-web"
SETTINGS = """
[database]
url = "{ledger}"
[viewer]
studies = "{studies}/dicom-web"
port = {port}
folder = "{folder}"
"""


def test_it_is_served_until_it_is_told_to_stop(tmp_path: Path) -> None:
    port = str(free_port())
    command = [WETREAD, "viewer", "serve", "--studies", ARCHIVE, "--port", port, "--folder", OHIF]
    with subprocess.Popen(
        [str(each) for each in command], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        address = serving.stdout.readline().strip()
        page = httpx.get(f"{address}segmentation")
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(20) == 0
    assert address == f"http://127.0.0.1:{port}/"
    assert "OHIF Viewer" in page.text


def test_what_is_missing_is_said(wetread: Run, tmp_path: Path) -> None:
    """OHIF itself, an archive, and users where others could reach it."""
    none = ("--folder", tmp_path / "none")
    ended = wetread("viewer", "serve", "--studies", ARCHIVE, *none)
    assert ended.is_error(2, "holds no OHIF")
    assert "wetread viewer install" in ended.err
    here = ("--folder", OHIF)
    assert wetread("viewer", "serve", *here).is_error(2, "names no archive")
    ended = wetread("viewer", "serve", "--studies", ARCHIVE, "--host", "0.0.0.0", *here)
    assert ended.is_error(2, "can be reached from elsewhere, and there are no users")


def test_a_port_that_is_taken_is_said(wetread: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = wetread(
            *("viewer", "serve", "--studies", ARCHIVE, "--port", port, "--folder", OHIF)
        )
    assert ended.is_error(2, f"cannot listen on 127.0.0.1:{port}")


def test_a_study_has_an_address(wetread: Run) -> None:
    address = "http://127.0.0.1:8050/segmentation?StudyInstanceUIDs=1.2&hangingprotocolid=default"
    assert wetread("viewer", "url", "1.2").out == f"{address}\n"
    reports = wetread("viewer", "url", "1.2", "--reports").out
    assert reports == f"{address.replace('segmentation', 'viewer')}\n"


def test_beside_a_gateway_its_users_are_known_and_its_trail_hears(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    archive = FastAPI()

    @archive.get("/{path:path}")
    def nothing() -> list[str]:
        return []

    with closing(Ledger(ledger)) as opened, http_serving(archive) as studies:
        session = people_of(opened, time.time).sessions.open("ann")
        text = SETTINGS.format(ledger=ledger, studies=studies, port=free_port(), folder=OHIF)
        (tmp_path / "wetread.toml").write_text(text, encoding="utf-8")
        command = [str(each) for each in (WETREAD, "viewer", "serve")]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as serving:
            assert serving.stdout is not None
            address = serving.stdout.readline().strip()
            cookies = {"wetread": session}
            settings = httpx.get(f"{address}app-config.js", cookies=cookies)
            httpx.get(f"{address}dicom-web/studies/1.2.3/series", cookies=cookies)
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(20) == 0
        [looked] = [each for each in opened.trail.read() if each.study_instance_uid == "1.2.3"]
    assert 'const reader = "ann";' in settings.text
    assert looked.content["ActiveParticipant"][0]["UserID"] == "ann"

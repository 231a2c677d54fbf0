"""The dashboard as `wetread serve` runs it: the first password, and that it is said once."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from command_line import WETREAD, write_settings
from network.neighbours import free_port
from tiny_model import TinyModel

pytestmark = pytest.mark.timeout(120)


def said_by_serve(settings: Path, port: int) -> str:
    """What it says on stderr from start to end, while its dashboard answers in between."""
    command = [WETREAD, "serve", "--config", settings]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").json() == {"status": "ok"}:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        running.terminate()
        _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    return err


def test_the_first_password_is_said_once_and_opens_the_door(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    port = free_port()
    settings = write_settings(tmp_path, tiny_ct)
    text = settings.read_text(encoding="utf-8").replace("enabled = false", f"port = {port}")
    settings.write_text(text, encoding="utf-8")
    first = said_by_serve(settings, port)
    [password] = re.findall(r"^Log in as 'admin' with the password (\S+)$", first, re.MULTILINE)
    assert re.fullmatch(r"([0-9a-f]{6}-){3}[0-9a-f]{6}", password)
    assert f"The dashboard is at http://127.0.0.1:{port}/" in first
    assert [line for line in first.splitlines() if line.startswith("{") and password in line] == []
    assert password not in said_by_serve(settings, port)
    kept = b"".join(each.read_bytes() for each in (tmp_path / "spool").glob("ledger.sqlite3*"))
    assert password.encode() not in kept

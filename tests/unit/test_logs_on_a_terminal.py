"""On a terminal a traceback names files and lines, and no value of a variable."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SCRIPT = """
import structlog
from pydicom import Dataset
from wetread.logs import configure_logs

configure_logs()
header = Dataset()
header.PatientName = "Zyxwvut^Quentin"
try:
    header.Rows / 0
except Exception:
    structlog.get_logger().error("failed", exc_info=True)
"""


def output_on_a_terminal(script: str) -> str:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", script], stderr=theirs, check=True)
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    return text


def test_a_traceback_has_no_values() -> None:
    text = output_on_a_terminal(SCRIPT)
    assert "AttributeError" in text
    assert "Traceback" in text
    assert "Zyxwvut" not in text

"""The list of a folder, while it changes, in MONAI Label's own environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from wetread.label.environment import DEFAULT_FOLDER

pytestmark = pytest.mark.timeout(120)
# Looks again and again while the list is made anew, and prints what went wrong.
SCRIPT = """
import logging, sys, threading, time
from collections import Counter
from pathlib import Path
from monailabel.datastore.local import LocalDatastore
from lib.stores.whole import WholeIndex

logging.disable(logging.CRITICAL)
sys.setswitchinterval(1e-6)
folder = Path(sys.argv[2])
for number in range(60):
    (folder / f"image{number}.nii").touch()
index = {"bare": LocalDatastore, "whole": WholeIndex}[sys.argv[1]](
    str(folder), extensions=("*.nii",), auto_reload=False
)
seen, ends = Counter(), time.monotonic() + 3


def look():
    while time.monotonic() < ends:
        try:
            seen["looks"] += 1
            if not index.get_image_uri("image0"):
                seen["image0 was not there"] += 1
            if len(index.list_images()) < 60:
                seen["a list was short"] += 1
            index.status()
        except RuntimeError as error:
            seen[str(error)] += 1


looking = [threading.Thread(target=look) for _ in range(2)]
for each in looking:
    each.start()
while time.monotonic() < ends:
    passing = folder / "passing.nii"
    passing.touch()
    index.refresh()
    passing.unlink()
    index.refresh()
for each in looking:
    each.join()
print(sorted(seen))
"""


def wrong(kind: str, folder: Path) -> str:
    folder.mkdir()
    done = subprocess.run(
        [str(ROOT / DEFAULT_FOLDER / "bin" / "python"), "-c", SCRIPT, kind, str(folder)],
        cwd=ROOT / "apps" / "annotate",
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nobody_sees_half_a_change(tmp_path: Path) -> None:
    """MONAI Label's own list breaks some dozen times in these three seconds."""
    assert "dictionary changed size" in wrong("bare", tmp_path / "bare")
    assert wrong("whole", tmp_path / "whole") == "['looks']"

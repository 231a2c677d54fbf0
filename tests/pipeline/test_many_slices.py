"""A series of 5,000 slices is read whole, in a process that may take no more than 4 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from phantom import write_series
from tiny_model import write_tiny_model
from wetread.files import write_atomically

SHAPE = (5000, 32, 28)
LIMIT_BYTES = 4 << 30
CAPPED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({limit}, {limit}))
from wetread.cli import main
main()
"""


@pytest.mark.timeout(300)
def test_five_thousand_slices_within_four_gigabytes(tmp_path: Path) -> None:
    series = write_series(
        tmp_path / "study", shape=SHAPE, slice_spacing_mm=0.04, column_spacing_mm=5.0
    )
    tiny = write_tiny_model(tmp_path)
    settings = f'model_repository = "{tiny.repository}"\n[models.tiny]\nbundle = "{tiny.bundle}"\n'
    write_atomically(tmp_path / "wetread.toml", [settings.encode()])
    arguments = ["--model", "tiny", "--output", "out", "--config", "wetread.toml", "--json"]
    run = subprocess.run(
        [sys.executable, "-c", CAPPED.format(limit=LIMIT_BYTES), "infer", "study", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    [reading] = json.loads(run.stdout)
    mask = series.mask()
    voxel_ml = abs(np.linalg.det(series.affine[:3, :3])) / 1000
    assert reading["volumes_ml"]["Ellipsoid"] == pytest.approx(int(mask.sum()) * voxel_ml)
    [path] = (tmp_path / "out").glob("SEG-*.dcm")
    seg = dcmread(path)
    assert seg.NumberOfFrames == int(mask.any(axis=(1, 2)).sum())
    [referenced] = seg.ReferencedSeriesSequence
    assert len(referenced.ReferencedInstanceSequence) == SHAPE[0]

"""`wetread bundle gate` and `wetread bundle stress`: what they print, and where the gate goes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from decathlon import write_decathlon
from wetread.infer.gate import load_gate

from .conftest import Run

BUNDLE = ROOT / "bundles" / "hippocampus_mr_segmentation"
BUILT = ("--repository", str(ROOT / ".cache" / "triton_models"))

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy whose gate may be replaced."""
    copied = shutil.copytree(BUNDLE, tmp_path / BUNDLE.name)
    (copied / "models/gate.json").unlink(missing_ok=True)
    return copied


@pytest.fixture
def data(tmp_path: Path) -> str:
    splits = {"train": list(range(20)), "val": list(range(20, 40))}
    return str(write_decathlon(tmp_path / "data", 40, splits, np.s_[8:24, 10:36, 7:23]))


def test_the_gate_is_kept_in_the_bundle(wetread: Run, bundle: Path, data: str) -> None:
    """20 validation cases none of which is flagged, and what it makes of them when changed."""
    found = wetread("bundle", "gate", bundle, "--data", data, "--json", *BUILT).json
    gate = load_gate(bundle)
    assert gate is not None
    assert (found["limit"], found["path"]) == (gate.limit, str(bundle / "models/gate.json"))
    assert (found["train_images"], found["val_cases"], found["val_flagged"]) == (20, 20, 0.0)
    assert {"name", "count", "auroc", "flagged"} == set(found["others"][0])


def test_the_table_has_a_row_for_each_severity(wetread: Run, bundle: Path, data: str) -> None:
    command = ("bundle", "stress", bundle, "--data", data, "--cases", "1", "--kind", "jpeg")
    ended = wetread(*command, *BUILT)
    assert ended.exit_code == 0
    assert "mean_dice of 1 cases by severity" in ended.out
    [row] = [line for line in ended.out.splitlines() if "jpeg" in line]
    assert len([cell for cell in row.split("│") if "0." in cell]) == 6
    found = wetread(*command, "--json", *BUILT).json
    assert [point["severity"] for point in found["points"]] == [1, 2, 3, 4, 5]


def test_an_unknown_kind_is_named(wetread: Run, bundle: Path, data: str) -> None:
    ended = wetread("bundle", "stress", bundle, "--data", data, "--kind", "fog", *BUILT)
    assert ended.is_error(2, "no kind 'fog'")


def test_too_few_data_are_named(wetread: Run, bundle: Path, tmp_path: Path) -> None:
    few = write_decathlon(tmp_path / "few", 2, {"train": [0], "val": [1]})
    ended = wetread("bundle", "gate", bundle, "--data", few, *BUILT)
    assert ended.is_error(3, "a gate needs at least 20")
    assert not (bundle / "models/gate.json").exists()

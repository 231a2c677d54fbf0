"""`wetread label simulate`: the table on stdout, the files beside the rounds, errors by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from decathlon import write_decathlon

from .conftest import Run

BUNDLES = ("--bundles", str(ROOT / "bundles"))
NAME = "hippocampus_mr_segmentation"
LESSON = ("--steps", "1", "--filters", "2", "--spacing-mm", "3")
SMALL = ("--seeds", "1", "--rounds", "2", "--start", "1", "--per-round", "1", *LESSON)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    splits = {"train": [0, 1, 2], "val": [3]}
    return write_decathlon(tmp_path / "data", 4, splits, np.s_[4:28, 8:40, 3:27])


def test_the_table_is_shown_and_the_curves_are_kept(wetread: Run, data: Path) -> None:
    command = ("label", "simulate", NAME, "--data", data, "--output", "out", *BUNDLES, *SMALL)
    ended = wetread(*command, "--strategy", "random", "--strategy", "hybrid")
    assert ended.exit_code == 0
    head, _, *rows = ended.out.splitlines()
    assert head == "| strategy | 1 | 2 | mean | mean − random |"
    assert [row.split(" | ")[0] for row in rows] == ["| random", "| hybrid"]
    output = data.parent / "out"
    assert (output / "curves.md").read_text(encoding="utf-8") == ended.out
    assert len((output / "curves.csv").read_text(encoding="utf-8").splitlines()) == 5
    assert wetread(*command, "--strategy", "random").out.splitlines()[2] == rows[0]


def test_a_strategy_that_is_none_ends_with_those_that_are(wetread: Run, data: Path) -> None:
    command = ("label", "simulate", NAME, "--data", data, "--output", "out", *BUNDLES, *SMALL)
    ended = wetread(*command, "--strategy", "oracle")
    assert ended.is_error(2, "no strategy 'oracle'")
    assert "representative" in ended.err
    assert not (data.parent / "out").exists()


def test_data_of_another_form_are_named(wetread: Run, tmp_path: Path) -> None:
    command = ("label", "simulate", NAME, "--data", tmp_path, "--output", "out", *BUNDLES)
    assert wetread(*command).is_error(3, "dataset.json")

"""`wetread bundle`: what it prints, and what it says of a wrong name or folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT
from decathlon import write_decathlon

from .conftest import Run

BUNDLE = "hippocampus_mr_segmentation"
WHERE = ("--bundles", str(ROOT / "bundles"))
BUILT = ("--repository", str(ROOT / ".cache" / "triton_models"))

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(write_decathlon(tmp_path / "data", 3, {"train": [0, 1], "val": [2]}))


def test_training_says_where_the_weights_are(wetread: Run, data: str, tmp_path: Path) -> None:
    ended = wetread(
        "bundle", "train", BUNDLE, "--data", data, "--epochs", "1", "--output", "out", *WHERE
    )
    assert ended.exit_code == 0
    assert "best val_mean_dice" in ended.out
    assert str(Path("out") / "model.pt") in ended.out
    assert (tmp_path / "out" / "model.pt").is_file()
    assert "INFO" not in ended.out


def test_evaluation_as_json_has_every_figure_with_its_interval(wetread: Run, data: str) -> None:
    found = wetread("bundle", "evaluate", BUNDLE, "--data", data, "--json", *WHERE, *BUILT).json
    assert found["count"] == 1
    assert 0.0 <= found["mean_dice"] <= 1.0
    for key in ("dice", "iou", "hd95_mm", "volume_error_ml"):
        assert set(found[key]) == set(found["intervals"][key])
    low, high = found["intervals"]["mean_dice"]
    assert low <= found["mean_dice"] <= high


def test_evaluation_as_a_table_names_segments(wetread: Run, data: str) -> None:
    ended = wetread(
        "bundle", "evaluate", BUNDLE, "--data", data, "--split", "train", *WHERE, *BUILT
    )
    assert "Anterior hippocampus" in ended.out
    assert f"{BUNDLE}, 2 cases" in ended.out


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_bundle_that_is_not_there_is_named(wetread: Run, data: str, command: str) -> None:
    ended = wetread("bundle", command, "spleen", "--data", data, *WHERE)
    assert ended.exit_code == 2
    assert "no bundle 'spleen'" in ended.err
    assert BUNDLE in ended.err


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_folder_of_another_form_is_named(wetread: Run, tmp_path: Path, command: str) -> None:
    ended = wetread("bundle", command, BUNDLE, "--data", str(tmp_path), *WHERE)
    assert ended.exit_code == 3
    assert "dataset.json" in ended.err
    assert "hint:" in ended.err


def test_evaluation_writes_a_page(wetread: Run, data: str, tmp_path: Path) -> None:
    ended = wetread(
        "bundle", "evaluate", BUNDLE, "--data", data, "--page", "page.html", *WHERE, *BUILT
    )
    assert ended.exit_code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<title>Evaluation of {BUNDLE}</title>" in text
    assert "ball_002.nii.gz: Dice 0." in text


def test_claims_are_compared_and_put_on_a_page(wetread: Run, tmp_path: Path) -> None:
    """Without data nothing is measured: the table has what the file keeps."""
    page = tmp_path / "page.md"
    page.write_text("<!-- claims -->\n<!-- end of claims -->\n", encoding="utf-8")
    claims = tmp_path / "claims.json"
    claims.write_bytes((ROOT / "bundles" / "claims.json").read_bytes())
    ended = wetread("bundle", "compare", claims, "--write", page)
    assert ended.out.startswith("| task | network | the study | ours: accuracy | AUC |")
    assert "U-Net: IoU 0.87" in ended.out
    assert ended.out in page.read_text(encoding="utf-8")


def test_claims_that_are_not_there_are_named(wetread: Run, tmp_path: Path) -> None:
    assert wetread("bundle", "compare", tmp_path / "none.json").is_error(2, "none.json")

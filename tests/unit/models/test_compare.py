"""Claims beside our figures: the table by arithmetic, one bundle measured, the page in step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import ROOT
from decathlon import write_decathlon
from wetread.errors import ConfigError
from wetread.infer.base import no_progress
from wetread.models.compare import (
    Claim,
    Measured,
    claims_table,
    measure_claims,
    read_claims,
    replace_table,
    write_claims,
)
from wetread.models.training_record import TrainingRecord

BUNDLES = ROOT / "bundles"
REPOSITORY = ROOT / ".cache" / "triton_models"
MEASURED = Measured(
    count=40,
    accuracy=(0.8543, 0.7721, 0.928),
    auc=(0.933, 0.884, 0.974),
    dice=None,
    iou=None,
    parameters=3_372_000,
    training_minutes=6.77,
    training_on="cpu with 1 thread",
    inference_seconds=0.0957,
    cores=2,
    weights_sha256="ab",
)
CLAIM = Claim("chest", "CNN", "accuracy 88 %", "chest", "xray", MEASURED)
EMPTY = Claim("chest", "ViT", "accuracy 85 %", "vit", "xray")


def test_the_table_has_the_claim_and_our_figures_with_intervals() -> None:
    lines = claims_table([CLAIM, EMPTY]).splitlines()
    assert lines[2] == (
        "| chest | CNN | accuracy 88 % | 85.4 % [77.2 to 92.8] | 0.933 [0.884 to 0.974] | – | – "
        "| 3.37 M | 6.8 | 96 |"
    )
    assert lines[3] == "| chest | ViT | accuracy 85 % | – | – | – | – | – | – | – |"
    assert {line.count("|") for line in lines[:4]} == {11}
    assert "on 2 CPU cores. Trained on cpu with 1 thread." in lines[-1]


def test_before_anything_is_measured_the_table_says_so() -> None:
    assert claims_table([EMPTY]).endswith("Nothing was measured yet.\n")


def test_what_is_kept_is_what_was_measured(tmp_path: Path) -> None:
    write_claims(tmp_path / "claims.json", [CLAIM, EMPTY])
    assert read_claims(tmp_path / "claims.json") == [CLAIM, EMPTY]


@pytest.mark.parametrize("content", ["{", "[1]", '[{"task": "chest"}]', '{"task": "chest"}'])
def test_a_file_that_is_no_list_of_claims_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "claims.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"claims\.json is no list of claims") as caught:
        read_claims(path)
    assert "task, network, study, bundle, data, measured" in caught.value.hint


def test_only_what_lies_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- claims -->\nold\n<!-- end of claims -->\nb\n", encoding="utf-8")
    replace_table(page, "new\n")
    replace_table(page, "newer\n")
    wanted = "a\n<!-- claims -->\nnewer\n<!-- end of claims -->\nb\n"
    assert page.read_text(encoding="utf-8") == wanted


@pytest.mark.parametrize("text", ["", "<!-- claims -->\n", "<!-- end of claims -->\n"])
def test_a_page_without_both_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="does not say where the table stands"):
        replace_table(page, "new\n")
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.timeout(60)
def test_what_is_at_hand_is_measured_and_the_rest_keeps_its_figures(tmp_path: Path) -> None:
    write_decathlon(tmp_path / "balls", 3, {"train": [0, 1], "val": [2]})
    bundle = "hippocampus_mr_segmentation"
    rows = [
        Claim("MR", "SegResNet", "IoU 0.87", bundle, "balls"),
        Claim("MR", "SegResNet", "IoU 0.87", bundle, "no such data", MEASURED),
        Claim("MR", "SegResNet", "IoU 0.87", "no such bundle", "balls", MEASURED),
    ]
    found = measure_claims(rows, [tmp_path, BUNDLES], tmp_path, REPOSITORY, no_progress)
    assert found[1:] == rows[1:]
    new = found[0].measured
    assert new is not None
    assert new.count == 1
    assert (new.accuracy, new.auc) == (None, None)
    assert new.iou is not None
    assert new.dice is not None
    assert 0 <= new.iou[0] <= new.dice[0] <= 1
    # 2.61 million, as the bundle's page says.
    assert round(new.parameters / 1e6, 2) == 2.61
    assert 0 < new.inference_seconds < 20


def test_the_hardware_of_a_training_reads_well() -> None:
    def on(device: str, threads: int) -> str:
        return TrainingRecord(1.0, 1, 1, 0.5, "auc", 9, device, threads).hardware

    assert on("cpu", 1) == "cpu with 1 thread"
    assert on("cpu", 2) == "cpu with 2 threads"
    assert on("cuda:0", 8) == "cuda:0"


def test_the_page_of_the_bundles_has_the_table_of_its_claims() -> None:
    table = claims_table(read_claims(BUNDLES / "claims.json"))
    page = (BUNDLES / "README.md").read_text(encoding="utf-8")
    assert f"<!-- claims -->\n{table}<!-- end of claims -->\n" in page


def test_every_claim_of_the_study_stands_in_a_row() -> None:
    said = " ".join(row["study"] for row in json.loads((BUNDLES / "claims.json").read_text()))
    for claim in ("88 %", "92 %", "0.85", "0.87", "85 %"):
        assert claim in said

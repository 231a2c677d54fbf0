"""`wetread phantom`: what it writes, prints and refuses."""

from __future__ import annotations

from pathlib import Path

from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances

from .conftest import Run

SMALL = ("--matrix", "24", "--slices", "8")


def test_studies_are_written_and_listed(wetread: Run, tmp_path: Path) -> None:
    ended = wetread(
        "phantom", "out", "--count", "2", "--modality", "CT", "--modality", "T1", *SMALL
    )
    assert ended.exit_code == 0, ended.err
    assert "head-0000-0001/CT" in ended.out
    assert "cyst" in ended.out
    study = read_study(find_instances(tmp_path / "out" / "head-0000-0001"))
    modalities = sorted(series.modality or "" for series in study.series)
    assert modalities == ["CT", "MR", "SEG", "SEG"]


def test_rows_as_json_with_effects_and_a_lesion(wetread: Run) -> None:
    [row] = wetread(
        *("phantom", "out", "--anatomy", "chest", "--format", "nifti", "--lesion", "nodule"),
        *("--side", "left", "--effects", "noise=2,thick_slices=1", "--seed", "4", "--json"),
        *SMALL,
    ).json
    assert (row["file"], row["label"]) == ("chest-0004-0000", "nodule")
    assert (row["side"], row["modality"]) == ("left", "CT DX")
    assert float(row["lesion_ml"]) > 0


def test_a_wrong_word_is_a_fact_and_a_hint(wetread: Run, tmp_path: Path) -> None:
    ended = wetread("phantom", "out", "--effects", "fog=1")
    assert ended.is_error(2, "no effect 'fog'")
    assert wetread("phantom", "out", "--lesion", "tumour").is_error(2, "'tumour'")
    assert not (tmp_path / "out").exists()

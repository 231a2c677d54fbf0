"""`wetread route`: each series, each rule, each condition with what was wanted and seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from command_line import write_settings
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel
from wetread.config import Conditions

from .conftest import Run

LAST_RULE = """
[[rules]]
name = "everything else"
when = {}
run = []
send_results_to = []
"""
EVERY_CONDITION = """
when.body_part_examined = "HEAD"
when.study_description = "ct*"
when.series_description = "phan*"
when.not_series_description = "*scout*"
when.calling_ae_title = "CT_ROOM1"
when.manufacturer = "wet*"
when.min_instances = 3
when.max_instances = 900
when.min_slice_spacing_mm = 1.0
when.max_slice_spacing_mm = 5.5
when.image_type = "PRIMARY"
when.not_image_type = "LOCALIZER"
when.orientation = "axial"
when.contrast = false
when.min_patient_age_years = 18
when.max_patient_age_years = 90
"""


def test_every_condition_has_what_was_wanted_and_seen(
    wetread: Run, tmp_path: Path, tiny_ct: TinyModel, ct_study: PhantomSeries
) -> None:
    write_settings(tmp_path, tiny_ct, when=EVERY_CONDITION)
    [decision] = wetread("route", "study", "--caller", "CT_ROOM1", "--json").json
    [outcome] = decision["outcomes"]
    seen = {each["name"]: each["seen"] for each in outcome["conditions"] if each["held"]}
    assert set(seen) == set(Conditions.model_fields)
    assert (seen["min_instances"], seen["max_slice_spacing_mm"]) == ("8", "5")
    assert seen["min_patient_age_years"] == "55"
    assert decision["selections"][0]["series_instance_uid"] == ct_study.series_instance_uid


def test_the_table_says_why_a_rule_did_not_match(
    wetread: Run, tmp_path: Path, tiny_ct: TinyModel
) -> None:
    write_series(tmp_path / "mr", modality="MR", shape=(4, 16, 16))
    write_settings(tmp_path, tiny_ct, extra=LAST_RULE)
    done = wetread("route", "mr")
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in done.out.splitlines()
        if line.startswith("│")
    ]
    assert rows[:2] == [
        ["every CT", "modality", "CT", "MR", "no"],
        ["everything else", "no condition", "", "", "yes"],
    ]
    assert rows[2][1:] == ["everything else", "none", "nowhere"]
    assert (done.exit_code, done.err) == (0, "")


@pytest.mark.usefixtures("settings_file")
def test_a_table_in_a_file_is_not_folded(wetread: Run, ct_study: PhantomSeries) -> None:
    lines = wetread("route", "study").out.splitlines()
    assert any(ct_study.series_instance_uid in line and "inbox" in line for line in lines)


@pytest.mark.usefixtures("settings_file")
def test_each_study_of_a_folder_has_its_own_decision(wetread: Run, tmp_path: Path) -> None:
    studies = {
        write_series(tmp_path / "all" / seed, shape=(4, 16, 16), seed=seed).study_instance_uid
        for seed in ("one", "two")
    }
    decisions = wetread("route", "all", "--json").json
    assert {each["study_instance_uid"] for each in decisions} == studies


def test_a_rule_that_cannot_be_judged_is_a_routing_error(
    wetread: Run, tmp_path: Path, tiny_ct: TinyModel, ct_study: PhantomSeries
) -> None:
    write_settings(tmp_path, tiny_ct, when="when.min_patient_age_years = 18")
    for path in ct_study.paths:
        path.write_bytes(path.read_bytes().replace(b"055Y", b"old "))
    done = wetread("route", "study")
    assert done.is_error(6, "'every CT' cannot be evaluated", "PatientAge", "'old'")


@pytest.mark.usefixtures("settings_file")
def test_a_file_without_uids_is_named(wetread: Run, ct_study: PhantomSeries) -> None:
    dataset = dcmread(ct_study.paths[0])
    del dataset.StudyInstanceUID
    dataset.save_as("anonymous.dcm")
    assert wetread("route", "anonymous.dcm").is_error(3, "anonymous.dcm: no StudyInstanceUID")

"""`wetread deidentify` and `reidentify`: a folder goes out without its patient, and comes back."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread

from phantom import PhantomSeries

from .conftest import Run


def test_a_folder_goes_out_and_comes_back(wetread: Run, ct_study: PhantomSeries) -> None:
    out = wetread("deidentify", "study", "--out", "out", "--key", "k", "--new-key", "--json")
    assert out.exit_code == 0
    assert len(out.json) == 8
    assert all(each["why_not"] == "" for each in out.json)
    made = dcmread(out.json[0]["new_file"])
    assert made.PatientIdentityRemoved == "YES"
    ended = wetread("reidentify", "out", "--originals", "study", "--out", "back", "--key", "k")
    assert ended.exit_code == 0
    back = {dcmread(path).SOPInstanceUID for path in Path("back").rglob("*.dcm")}
    assert back == {dcmread(path).SOPInstanceUID for path in ct_study.paths}


def test_a_file_that_may_show_the_patient_is_named_and_left_out(
    wetread: Run, ct_study: PhantomSeries
) -> None:
    burned = dcmread(ct_study.paths[0])
    burned.BurnedInAnnotation = "YES"
    burned.save_as(ct_study.paths[0])
    ended = wetread("deidentify", "study", "--out", "out", "--key", "k", "--new-key")
    assert ended.exit_code == 3
    assert "burned-in annotation" in " ".join(ended.out.split())
    assert len(list(Path("out").rglob("*.dcm"))) == 7
    again = wetread("deidentify", "study", "--out", "all", "--key", "k", "--allow-burned-in")
    assert again.exit_code == 0


def test_under_another_key_no_study_is_known(wetread: Run, ct_study: PhantomSeries) -> None:
    wetread("deidentify", "study", "--out", "out", "--key", "k", "--new-key")
    wetread("deidentify", "study", "--out", "other", "--key", "other.key", "--new-key")
    ended = wetread(
        "reidentify", "out", "--originals", "study", "--out", "back", "--key", "other.key"
    )
    assert ended.is_error(3, "its study is none of the originals")


def test_without_a_key_it_says_how_to_make_one(wetread: Run, ct_study: PhantomSeries) -> None:
    ended = wetread("deidentify", "study", "--out", "out", "--key", "k")
    assert ended.is_error(2, "cannot read the key k")

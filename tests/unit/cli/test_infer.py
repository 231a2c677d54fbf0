"""`wetread infer`: DICOM gives DICOM, NIfTI gives NIfTI, a person's mistake gives a hint."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from odd_files import KINDS
from phantom import PhantomSeries, write_series
from tiny_model import TinyModel, write_tiny_model

from .conftest import Run

pytestmark = pytest.mark.timeout(60)
SEG, SR, SC, RTSTRUCT = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.481.3",
)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def classes_in(folder: Path) -> Counter[str]:
    return Counter(str(dcmread(path).SOPClassUID) for path in folder.iterdir())


def true_ml(series: PhantomSeries) -> float:
    voxel_ml = abs(float(np.linalg.det(series.affine[:3, :3]))) / 1000
    return int(series.mask().sum()) * voxel_ml


def write_nifti_phantom(series: PhantomSeries, path: Path) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(series.values(), _LPS_TO_RAS @ series.affine)
    nibabel.save(image, path)
    return image


@pytest.mark.usefixtures("settings_file")
def test_a_folder_gives_a_seg_an_sr_and_a_montage(wetread: Run, ct_study: PhantomSeries) -> None:
    done = wetread("infer", "study", "--model", "tiny", "--output", "out")
    assert done.exit_code == 0
    assert classes_in(Path("out")) == {SEG: 1, SR: 1, SC: 1}
    assert f"Ellipsoid {true_ml(ct_study):.1f} mL" in done.out
    assert done.err == ""


@pytest.mark.usefixtures("settings_file", "ct_study")
def test_also_gives_one_more_object(wetread: Run) -> None:
    done = wetread("infer", "study", "-m", "tiny", "-o", "out", "--also", "RTSTRUCT")
    assert done.exit_code == 0
    assert classes_in(Path("out")) == {SEG: 1, SR: 1, SC: 1, RTSTRUCT: 1}


@pytest.mark.usefixtures("settings_file")
def test_a_single_enhanced_file_gives_the_same_three(wetread: Run, tmp_path: Path) -> None:
    series = write_series(tmp_path / "enhanced", enhanced=True, shape=(8, 24, 20))
    assert wetread("infer", series.paths[0], "-m", "tiny", "-o", "out").exit_code == 0
    assert classes_in(Path("out")) == {SEG: 1, SR: 1, SC: 1}


@pytest.mark.usefixtures("settings_file")
def test_a_zip_gives_the_same_three(wetread: Run, ct_study: PhantomSeries) -> None:
    with zipfile.ZipFile("study.zip", "w") as archive:
        for path in ct_study.paths:
            archive.write(path, path.name)
    assert wetread("infer", "study.zip", "-m", "tiny", "-o", "out").exit_code == 0
    assert classes_in(Path("out")) == {SEG: 1, SR: 1, SC: 1}


@pytest.mark.usefixtures("settings_file")
def test_nifti_gives_nifti_on_the_same_grid(wetread: Run, ct_study: PhantomSeries) -> None:
    source = write_nifti_phantom(ct_study, Path("head.nii.gz"))
    assert wetread("infer", "head.nii.gz", "-m", "tiny", "-o", "out").exit_code == 0
    found = nibabel.load("out/head_tiny.nii.gz")
    assert np.allclose(found.affine, source.affine)
    assert np.array_equal(np.asarray(found.dataobj), ct_study.mask())
    assert list(Path("out").iterdir()) == [Path("out/head_tiny.nii.gz")]


@pytest.mark.usefixtures("settings_file")
def test_json_names_series_volume_seconds_and_files(wetread: Run, ct_study: PhantomSeries) -> None:
    [reading] = wetread("infer", "study", "-m", "tiny", "-o", "out", "--json").json
    assert reading["series"] == ct_study.series_instance_uid
    assert reading["volumes_ml"] == {"Ellipsoid": pytest.approx(true_ml(ct_study))}
    assert set(reading["seconds"]) == {"load", "preprocess", "forward", "postprocess", "encode"}
    assert sorted(reading["files"]) == sorted(str(path) for path in Path("out").iterdir())


@pytest.mark.usefixtures("settings_file")
def test_a_series_that_is_not_for_the_model_is_passed_by_with_the_reason(
    wetread: Run, ct_study: PhantomSeries, tmp_path: Path
) -> None:
    write_series(tmp_path / "study" / "mr", modality="MR", shape=(4, 16, 16))
    readings = wetread("infer", "study", "-m", "tiny", "-o", "out", "--json").json
    outcome = {each["series"]: (len(each["files"]), each["outcome"]) for each in readings}
    assert outcome.pop(ct_study.series_instance_uid)[0] == 3
    assert list(outcome.values()) == [(0, "tiny wants CT with ≥ 3 instances, got MR with 4")]


@pytest.mark.usefixtures("ct_study", "settings_file")
def test_run_twice_gives_new_objects(wetread: Run) -> None:
    for _ in range(2):
        assert wetread("infer", "study", "-m", "tiny", "-o", "out").exit_code == 0
    assert classes_in(Path("out")) == {SEG: 2, SR: 2, SC: 2}


@pytest.mark.usefixtures("ct_study")
def test_a_bundle_by_its_path_needs_no_settings(wetread: Run, tiny_ct: TinyModel) -> None:
    Path("triton_models").symlink_to(tiny_ct.repository)
    assert wetread("infer", "study", "-m", tiny_ct.bundle, "-o", "out").exit_code == 0


@pytest.mark.usefixtures("settings_file")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "nothing: no such file or folder"),
        ("empty", "no DICOM file among 0 files"),
        ("texts", "no DICOM file among 1 files"),
        ("broken.zip", "no DICOM file among 1 files"),
        ("broken.nii.gz", "cannot be read as NIfTI"),
    ],
)
def test_what_is_no_study_is_an_input_error(wetread: Run, path: str, words: str) -> None:
    Path("empty").mkdir()
    Path("texts").mkdir()
    for name in ("texts/notes.txt", "broken.zip", "broken.nii.gz"):
        Path(name).write_text("not an image", encoding="utf-8")
    assert wetread("infer", path, "-m", "tiny", "-o", "out").is_error(3, words)
    assert not Path("out").exists()


@pytest.mark.usefixtures("settings_file")
def test_a_gap_is_an_input_error_in_millimetres(wetread: Run, tmp_path: Path) -> None:
    write_series(tmp_path / "study", shape=(8, 16, 16), fault="gap")
    done = wetread("infer", "study", "-m", "tiny", "-o", "out")
    assert done.is_error(3, "gap of 10.0 mm")


@pytest.mark.usefixtures("settings_file")
def test_a_series_at_fault_does_not_keep_the_others_from_being_read(
    wetread: Run, ct_study: PhantomSeries, tmp_path: Path
) -> None:
    """The whole one gives its three objects, the other its reason, and the exit code says so."""
    broken = write_series(tmp_path / "study/broken", shape=(8, 16, 16), fault="gap", seed="other")
    done = wetread("infer", "study", "-m", "tiny", "-o", "out", "--json")
    found = {each["series"]: each for each in done.json}
    assert done.exit_code == 3
    assert classes_in(Path("out")) == {SEG: 1, SR: 1, SC: 1}
    assert not found[ct_study.series_instance_uid]["is_refused"]
    refused = found[broken.series_instance_uid]
    assert refused["is_refused"]
    assert refused["outcome"].startswith("gap of 10.0 mm between instances 4 and 5")


@pytest.mark.usefixtures("settings_file")
def test_each_stack_of_a_series_is_read(wetread: Run) -> None:
    KINDS["two echoes"].write(Path("study"))
    readings = wetread("infer", "study", "-m", "tiny", "-o", "out", "--json").json
    assert [each["outcome"].partition(":")[0] for each in readings] == [
        "Echo Time 1.0",
        "Echo Time 4.6",
    ]
    assert classes_in(Path("out")) == {SEG: 2, SR: 2, SC: 2}


@pytest.mark.usefixtures("settings_file")
def test_what_is_no_slice_is_said_to_be_left_out(wetread: Run) -> None:
    KINDS["localizer in a series"].write(Path("study"))
    done = wetread("infer", "study", "-m", "tiny", "-o", "out")
    assert done.exit_code == 0
    assert "1 localizers or objects without an image are left out" in done.out


@pytest.mark.usefixtures("settings_file")
def test_a_data_set_without_a_header_is_not_passed_by(
    wetread: Run, ct_study: PhantomSeries
) -> None:
    KINDS["no preamble"].write(ct_study.paths[0].parent)
    done = wetread("infer", "study", "-m", "tiny", "-o", "out")
    assert done.is_error(3, "odd.dcm: a DICOM data set without preamble")


@pytest.mark.usefixtures("settings_file")
def test_no_series_for_the_model_is_an_input_error(wetread: Run, tmp_path: Path) -> None:
    series = write_series(tmp_path / "study", modality="MR", shape=(4, 16, 16))
    done = wetread("infer", "study", "-m", "tiny", "-o", "out")
    assert done.is_error(3, series.series_instance_uid, "tiny wants CT", "got MR with 4")


@pytest.mark.usefixtures("ct_study", "settings_file")
@pytest.mark.parametrize("place", ["wetread.toml", "wetread.toml/results"])
def test_an_output_that_cannot_be_written_is_a_storage_error(wetread: Run, place: str) -> None:
    assert wetread("infer", "study", "-m", "tiny", "-o", place).is_error(8, "cannot write")


@pytest.mark.usefixtures("settings_file")
def test_a_nifti_that_cannot_be_written_is_a_storage_error(
    wetread: Run, ct_study: PhantomSeries
) -> None:
    write_nifti_phantom(ct_study, Path("head.nii"))
    done = wetread("infer", "head.nii", "-m", "tiny", "-o", "wetread.toml")
    assert done.is_error(8, "cannot write")


@pytest.mark.usefixtures("ct_study", "settings_file")
def test_an_unknown_model_is_a_config_error_that_names_the_known(wetread: Run) -> None:
    done = wetread("infer", "study", "-m", "brian", "-o", "out")
    assert done.is_error(2, "no model or bundle 'brian'", "tiny")


@pytest.mark.usefixtures("ct_study")
def test_a_settings_file_that_was_named_must_be_there(wetread: Run, tiny_ct: TinyModel) -> None:
    done = wetread("infer", "study", "-m", tiny_ct.bundle, "-o", "out", "-c", "typo.toml")
    assert done.is_error(2, "typo.toml: No such file")


@pytest.mark.usefixtures("ct_study")
def test_a_network_that_is_not_built_is_an_inference_error(
    wetread: Run, tiny_ct: TinyModel
) -> None:
    done = wetread("infer", "study", "-m", tiny_ct.bundle, "-o", "out")
    assert done.is_error(5, "tiny_ellipsoid")
    assert "wetread models build" in done.err


@pytest.mark.usefixtures("ct_study")
def test_a_bundle_that_names_no_segments_is_an_encoding_error(wetread: Run, tmp_path: Path) -> None:
    tiny = write_tiny_model(tmp_path, "MR")
    description = tiny.bundle / "configs/dicom.json"
    content = json.loads(description.read_text(encoding="utf-8"))
    content["accepts"]["modality"], content["segments"] = ["CT"], []
    description.write_text(json.dumps(content), encoding="utf-8")
    done = wetread("infer", "study", "-m", tiny.bundle, "-o", "out")
    assert done.is_error(7, "names no segments")


@pytest.mark.usefixtures("settings_file")
def test_a_study_with_a_file_cut_short_says_which(wetread: Run, ct_study: PhantomSeries) -> None:
    shutil.copy(ct_study.paths[3], "whole.dcm")
    ct_study.paths[3].write_bytes(ct_study.paths[3].read_bytes()[:-200])
    done = wetread("infer", "study", "-m", "tiny", "-o", "out")
    assert done.exit_code == 3, done.err
    assert done.is_error(3)

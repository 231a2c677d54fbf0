"""The head that the demo sends: a valid sagittal MR series on the millimetres of its NIfTI file."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from readings import complaints
from wetread.demo.head import write_head_series
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.errors import InputError

RAS = np.array([[1.5, 0, 0, -20], [0, 2.0, 0, -30], [0, 0, 2.5, 10], [0, 0, 0, 1]])
# The brightest voxel: right of the middle, at the front, low.
INDEX = (3, 17, 5)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    array = np.random.default_rng(3).integers(0, 200, (16, 20, 18)).astype(np.int16)
    array[INDEX] = 255
    nibabel.save(nibabel.Nifti1Image(array, RAS), tmp_path / "head.nii.gz")
    write_head_series(tmp_path / "head.nii.gz", tmp_path / "study")
    return tmp_path / "study"


def loaded(folder: Path) -> SourceVolume:
    [series] = read_study(find_instances(folder)).series
    assert (series.orientation, series.image_count) == ("sagittal", 16)
    return load_volume(series)


def test_a_voxel_keeps_its_millimetres(written: Path) -> None:
    volume = loaded(written).volume
    brightest = np.unravel_index(np.argmax(volume.array), volume.array.shape)
    x, y, z = (RAS @ [*INDEX, 1])[:3]
    assert (np.asarray(volume.affine) @ [*brightest, 1])[:3] == pytest.approx([-x, -y, z])


def test_every_instance_is_valid(written: Path, tmp_path: Path) -> None:
    for path in sorted(written.iterdir())[::5]:
        assert complaints(path.read_bytes(), tmp_path) == []


def test_each_call_makes_a_new_study(written: Path, tmp_path: Path) -> None:
    write_head_series(tmp_path / "head.nii.gz", tmp_path / "again")
    uids = {
        find_instances(folder)[0].study_instance_uid for folder in (written, tmp_path / "again")
    }
    assert len(uids) == 2


def test_a_head_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as raised:
        write_head_series(tmp_path / "none.nii.gz", tmp_path / "study")
    assert "make demo" in raised.value.hint


def test_a_damaged_head_is_named(tmp_path: Path) -> None:
    path = tmp_path / "head.nii.gz"
    path.write_bytes(b"\x1f\x8b not a head")
    with pytest.raises(InputError, match=r"head\.nii\.gz: cannot be read as NIfTI"):
        write_head_series(path, tmp_path / "out")

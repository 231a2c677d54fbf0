"""A subject's files are one volume, a channel each, in the patient's directions."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from subjects import SHAPE, write_subject
from wetread.errors import InputError
from wetread.infer.bundle import as_ras_image
from wetread.infer.subjects import is_subject, volume_from_subject

MODALITIES = ("t1", "t2", "ct")


def test_each_file_is_a_channel_and_an_absent_one_is_0(tmp_path: Path) -> None:
    """Axes go up, to the back and to the left: the file's z, y and x."""
    volume = volume_from_subject(write_subject(tmp_path, {"t2": 20.0, "ct": 40.0}), MODALITIES)
    assert volume.array.shape == (*SHAPE[::-1], 3)
    assert volume.array.max((0, 1, 2)).tolist() == [0.0, 20.0, 40.0]
    # The mark is at voxel (2, 3, 4) of 20, 22 and 18 mm from (-50, -66, -63) in RAS.
    [place] = np.argwhere(volume.array[..., 1] > 5)
    assert volume.affine @ [*place, 1] == pytest.approx([10.0, 0.0, 9.0, 1.0])


def test_files_turned_differently_meet(tmp_path: Path) -> None:
    write_subject(tmp_path, {"t1": 10.0, "ct": 30.0})
    path = tmp_path / "ct.nii.gz"
    turned = nibabel.orientations.axcodes2ornt(tuple("PSR"))
    nibabel.save(nibabel.load(path).as_reoriented(turned), path)
    array = volume_from_subject(tmp_path, MODALITIES).array
    assert np.argwhere(array[..., 0] > 5).tolist() == np.argwhere(array[..., 2] > 5).tolist()


def test_channels_come_first_for_the_bundle(tmp_path: Path) -> None:
    volume = volume_from_subject(write_subject(tmp_path, {"t2": 20.0}), MODALITIES)
    image = as_ras_image(volume)
    assert image.shape == (3, *SHAPE[::-1])
    assert np.array_equal(np.asarray(image[1]), volume.array[..., 1])


def test_a_folder_is_a_subject_if_it_has_a_file_of_a_modality(tmp_path: Path) -> None:
    assert is_subject(write_subject(tmp_path / "one", {"ct": 1.0}), MODALITIES)
    assert not is_subject(write_subject(tmp_path / "other", {"pd": 1.0}), MODALITIES)
    assert not is_subject(tmp_path / "one" / "ct.nii.gz", MODALITIES)
    assert not is_subject(tmp_path / "one", ())


def test_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file of t1, t2, ct, such as t1\.nii\.gz"):
        volume_from_subject(tmp_path, MODALITIES)


def test_files_on_two_grids_are_refused(tmp_path: Path) -> None:
    write_subject(tmp_path, {"t1": 10.0})
    write_subject(tmp_path, {"ct": 10.0}, shift_mm=3.0)
    with pytest.raises(InputError, match="their affines differ by up to 3"):
        volume_from_subject(tmp_path, MODALITIES)

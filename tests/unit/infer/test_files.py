"""NIfTI in, NIfTI out: the same voxel at the same millimetre; what cannot be trusted is refused."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest

from wetread.errors import InputError
from wetread.infer.files import volume_from_nifti, write_nifti

VALUES = np.random.default_rng(3).integers(-900, 900, (7, 6, 5)).astype(np.float32)
# Voxels of 2 × 3 × 4 mm; the first lies 10 mm left, 20 mm in front, 30 mm below the origin (RAS).
PLAIN = np.array([[2.0, 0, 0, -10], [0, 3, 0, 20], [0, 0, 4, -30], [0, 0, 0, 1]])
Change = Callable[[Any], Any]


def saved(
    path: Path, values: Any = VALUES, affine: Any = PLAIN, change: Change | None = None
) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    if change is not None:
        change(image.header)
    nibabel.save(image, path)
    return path


def test_millimetres_become_lps(tmp_path: Path) -> None:
    """RAS (-10, 20, -30) is LPS (10, -20, -30): x and y point the other way."""
    volume = volume_from_nifti(saved(tmp_path / "head.nii.gz"))
    assert volume.affine[:3, 3].tolist() == [10.0, -20.0, -30.0]
    corner = volume.map_indices_to_reference(np.array([[6, 5, 4]]))
    assert corner.tolist() == [[10.0 - 12.0, -20.0 - 15.0, -30.0 + 16.0]]
    assert volume.spacing == (2.0, 3.0, 4.0)


def test_values_stay_where_they_were_as_float32(tmp_path: Path) -> None:
    volume = volume_from_nifti(saved(tmp_path / "head.nii", VALUES.astype(np.int16)))
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, VALUES)


def test_stored_values_are_scaled(tmp_path: Path) -> None:
    path = saved(tmp_path / "head.nii", VALUES.astype(np.int16), change=scale(2.0, -1024.0))
    assert np.array_equal(volume_from_nifti(path).array, 2 * VALUES - 1024)


def scale(slope: float, intercept: float) -> Change:
    return lambda header: header.set_slope_inter(slope, intercept)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti1Pair, nibabel.Nifti2Image])
def test_every_kind_of_nifti_is_read(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / ("head.img" if kind is nibabel.Nifti1Pair else "head.nii.gz")
    nibabel.save(kind(VALUES, PLAIN), path)
    assert np.array_equal(volume_from_nifti(path).array, VALUES)


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_an_oblique_image_lies_where_its_header_says(
    tmp_path: Path, oblique: highdicom.Volume, form: str
) -> None:
    """Its affine is float32 or a quaternion there: within 0.001 mm."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ oblique.affine
    image = nibabel.Nifti1Image(oblique.array, None)
    image.set_sform(affine if form == "sform" else None, code=1 if form == "sform" else 0)
    image.set_qform(affine if form == "qform" else None, code=1 if form == "qform" else 0)
    nibabel.save(image, tmp_path / "turned.nii.gz")
    volume = volume_from_nifti(tmp_path / "turned.nii.gz")
    last = np.array([np.array(oblique.spatial_shape) - 1, (0, 0, 0)])
    wanted = oblique.map_indices_to_reference(last)
    assert np.allclose(volume.map_indices_to_reference(last), wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("unit", "factor"), [("unknown", 1.0), ("mm", 1.0), ("meter", 1000.0), ("micron", 0.001)]
)
def test_every_unit_of_length_becomes_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    path = saved(tmp_path / "head.nii", change=lambda header: header.set_xyzt_units(unit, "sec"))
    volume = volume_from_nifti(path)
    assert volume.spacing == pytest.approx((2 * factor, 3 * factor, 4 * factor))
    assert volume.position == pytest.approx((10 * factor, -20 * factor, -30 * factor))


def test_one_volume_in_four_dimensions_is_a_volume(tmp_path: Path) -> None:
    volume = volume_from_nifti(saved(tmp_path / "head.nii", VALUES[..., None]))
    assert np.array_equal(volume.array, VALUES)


@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 5, 2), (7, 6, 5, 1, 3), (0, 6, 5)])
def test_what_is_no_volume_is_refused_with_its_shape(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = saved(tmp_path / "head.nii", np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=rf"the shape is {re.escape(str(shape))}, a volume has 3"):
        volume_from_nifti(path)


def test_a_sheared_grid_is_refused(tmp_path: Path) -> None:
    sheared = PLAIN.copy()
    sheared[0, 2] = 0.5
    with pytest.raises(InputError, match="the affine is no regular grid") as caught:
        volume_from_nifti(saved(tmp_path / "tilted.nii", affine=sheared))
    assert "resample" in caught.value.hint


def test_an_image_that_does_not_say_which_side_is_left_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "head.nii", affine=None)
    with pytest.raises(InputError, match="neither sform nor qform says where its voxels lie"):
        volume_from_nifti(path)


def test_a_unit_that_nifti_does_not_know_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "head.nii")
    content = bytearray(path.read_bytes())
    content[123] = 7
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"unit of length 7, NIfTI knows \[0, 1, 2, 3\]"):
        volume_from_nifti(path)


@pytest.mark.parametrize(
    "values",
    [VALUES.astype(np.complex64), np.zeros((7, 6, 5), [(each, "u1") for each in "RGB"])],
    ids=["complex", "colour"],
)
def test_voxels_that_are_no_real_number_are_refused(tmp_path: Path, values: Any) -> None:
    with pytest.raises(InputError, match="a volume has one real number each"):
        volume_from_nifti(saved(tmp_path / "head.nii", values))


@pytest.mark.parametrize(
    ("kind", "name"), [(nibabel.AnalyzeImage, "head.img"), (nibabel.MGHImage, "head.mgz")]
)
def test_another_format_is_refused(tmp_path: Path, kind: Any, name: str) -> None:
    nibabel.save(kind(VALUES, PLAIN), tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: is no NIfTI"):
        volume_from_nifti(tmp_path / name)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.6, 0.99])
@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz"])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, name: str, share: float) -> None:
    """In one line, with its path."""
    noise = np.random.default_rng(9).random((32, 32, 32), np.float32)
    path = saved(tmp_path / name, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=rf"^{path}: cannot be read as NIfTI: .+$") as caught:
        volume_from_nifti(path)
    assert "\n" not in caught.value.message


def test_a_damaged_byte_of_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "head.nii.gz", np.random.default_rng(9).random((32, 32, 32)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        volume_from_nifti(path)


def test_a_header_that_claims_more_than_there_is_memory_is_refused(tmp_path: Path) -> None:
    """32767³ voxels of 8 bytes, in a file of a few hundred."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((32767, 32767, 32767))
    header.set_sform(PLAIN, code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    path = tmp_path / "huge.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(64)))
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        volume_from_nifti(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("absent.nii", None), ("text.nii", b"hello"), ("text.nii.gz", b"hello"), ("dicom.dcm", b"x")],
)
def test_what_is_no_nifti_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: cannot be read as NIfTI"):
        volume_from_nifti(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_comes_back_on_the_grid_of_its_image(tmp_path: Path, dtype: Any) -> None:
    source = saved(tmp_path / "head.nii.gz")
    labels = (VALUES > 0).astype(dtype) * np.iinfo(dtype).max
    write_nifti(tmp_path / "mask.nii.gz", labels, volume_from_nifti(source))
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(mask.affine, nibabel.load(source).affine)
    assert mask.get_data_dtype() == dtype
    assert np.array_equal(np.asarray(mask.dataobj), labels)


def test_a_mask_says_its_unit_and_that_its_place_is_known(tmp_path: Path) -> None:
    volume = volume_from_nifti(saved(tmp_path / "head.nii"))
    write_nifti(tmp_path / "mask.nii", (volume.array > 0).astype(np.uint8), volume)
    header = nibabel.load(tmp_path / "mask.nii").header
    assert header.get_xyzt_units()[0] == "mm"
    assert int(header["sform_code"]) > 0


def test_a_mask_of_an_image_in_metres_lies_at_the_same_place(tmp_path: Path) -> None:
    source = saved(tmp_path / "head.nii", change=lambda header: header.set_xyzt_units("meter"))
    volume = volume_from_nifti(source)
    write_nifti(tmp_path / "mask.nii", (VALUES > 0).astype(np.uint8), volume)
    again = volume_from_nifti(tmp_path / "mask.nii")
    assert np.allclose(again.affine, volume.affine)


def test_an_oblique_volume_and_its_mask_share_every_millimetre(
    tmp_path: Path, oblique: highdicom.Volume
) -> None:
    labels = (oblique.array > 0.5).astype(np.uint8)
    write_nifti(tmp_path / "mask.nii.gz", labels, oblique)
    mask = volume_from_nifti(tmp_path / "mask.nii.gz")
    assert np.allclose(mask.affine, oblique.affine, rtol=0, atol=1e-4)
    assert np.array_equal(mask.array, labels)

"""What is written is valid, lies where it should, and says the truth."""

from __future__ import annotations

from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
from PIL import Image as Picture
from pydicom import dcmread

from readings import complaints, read_by_dcmqi
from wetread.phantom.contrast import Modality
from wetread.phantom.effects import Effects
from wetread.phantom.files import stored_values, write_dicom, write_nifti
from wetread.phantom.recipe import Recipe
from wetread.phantom.study import SyntheticStudy, make_study

from .conftest import CLEAN, loaded

VOLUMES = ("CT", "T1", "T2", "FLAIR", "PD")


def lps_of(affine: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The middle of a mask in LPS mm."""
    return np.asarray(affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3])


@pytest.mark.parametrize("series", [*VOLUMES, "DX"])
def test_every_image_of_a_head_is_valid(head_files: Path, tmp_path: Path, series: str) -> None:
    path = max((head_files / series).iterdir())
    assert complaints(path.read_bytes(), tmp_path) == []
    assert complaints(path.read_bytes(), tmp_path, "Warning") == []


@pytest.mark.parametrize("series", ["CT", "DX"])
def test_every_image_of_a_chest_is_valid(chest_files: Path, tmp_path: Path, series: str) -> None:
    path = max((chest_files / series).iterdir())
    assert complaints(path.read_bytes(), tmp_path) == []


@pytest.mark.parametrize("series", VOLUMES)
def test_every_seg_is_valid(head_files: Path, tmp_path: Path, series: str) -> None:
    assert complaints((head_files / "SEG" / f"{series}.dcm").read_bytes(), tmp_path) == []


def test_the_seg_of_a_chest_is_valid(chest_files: Path, tmp_path: Path) -> None:
    assert complaints((chest_files / "SEG" / "CT.dcm").read_bytes(), tmp_path) == []


@pytest.mark.parametrize("series", VOLUMES)
def test_a_series_is_loaded_on_the_grid_of_the_study(
    head: SyntheticStudy, head_files: Path, series: str
) -> None:
    source = loaded(head_files / series)
    assert source.shape == head.grid.shape
    assert source.affine == pytest.approx(head.grid.affine, abs=1e-4)


def test_a_lesion_on_the_left_is_at_positive_x(head: SyntheticStudy, head_files: Path) -> None:
    """Read from the T2 series, where an oedema is brighter than the white matter around it."""
    lesion = head.anatomy.lesion
    assert lesion is not None
    source = loaded(head_files / "T2")
    values = source.array / 2
    expected = abs(head.images[Modality.T2][head.labels == head.anatomy.label_value("lesion")][0])
    middle = lps_of(source.affine, np.abs(values - expected) < 1)
    assert middle == pytest.approx(lesion.centre_mm, abs=2.0)
    assert middle[0] > 5


def test_ct_is_in_hu(head: SyntheticStudy, head_files: Path) -> None:
    source = loaded(head_files / "CT")
    assert float(source.array[0, 0, 0]) == -1000
    bone = source.array[head.labels == head.anatomy.label_value("skull")]
    assert float(bone.mean()) == pytest.approx(900, abs=0.6)


def test_all_series_of_a_patient_share_study_and_frame_of_reference(head_files: Path) -> None:
    headers = {name: dcmread(next((head_files / name).iterdir())) for name in (*VOLUMES, "DX")}
    assert len({header.StudyInstanceUID for header in headers.values()}) == 1
    assert len({header.PatientID for header in headers.values()}) == 1
    assert len({header.SeriesInstanceUID for header in headers.values()}) == len(headers)
    assert len({headers[name].FrameOfReferenceUID for name in VOLUMES}) == 1
    # A projection has no frame of reference that volumes could share.
    assert "FrameOfReferenceUID" not in headers["DX"]
    assert all("Phantom" in str(header.PatientName) for header in headers.values())


def test_the_sequences_are_told(head_files: Path) -> None:
    t1, flair = (dcmread(next((head_files / name).iterdir())) for name in ("T1", "FLAIR"))
    assert (t1.ScanningSequence, t1.RepetitionTime, t1.EchoTime) == ("SE", 500, 12)
    assert "InversionTime" not in t1
    assert (flair.ScanningSequence, flair.RepetitionTime, flair.InversionTime) == ("IR", 9000, 1705)


def test_the_seg_says_the_true_volumes(head: SyntheticStudy, head_files: Path) -> None:
    """Read by highdicom: as many voxels as the labels, within 2 % of the formula for big ones."""
    seg = highdicom.seg.segread(head_files / "SEG" / "FLAIR.dcm")
    truth = head.anatomy.volumes_ml()
    names = {
        number: seg.get_segment_description(number).tracking_id for number in seg.segment_numbers
    }
    assert set(names.values()) == set(head.anatomy.names)
    volume = seg.get_volume(combine_segments=True)
    voxel_ml = float(np.prod(volume.spacing)) / 1000
    for number, name in names.items():
        found = np.count_nonzero(volume.array == number)
        assert found == np.count_nonzero(head.labels == head.anatomy.label_value(name))
        if truth[name] > 100:
            assert found * voxel_ml == pytest.approx(truth[name], rel=0.02)


def test_the_seg_lies_where_the_lesion_is(
    head: SyntheticStudy, head_files: Path, tmp_path: Path
) -> None:
    """As dcmqi reads it."""
    lesion = head.anatomy.lesion
    assert lesion is not None
    parts = read_by_dcmqi(dcmread(head_files / "SEG" / "CT.dcm"), tmp_path)
    assert len(parts) == len(head.anatomy.names)
    middles = [lps_of(affine, mask > 0) for mask, affine in parts]
    nearest = min(float(np.linalg.norm(middle - lesion.centre_mm)) for middle in middles)
    assert nearest < 1.0


def test_the_seg_claims_no_algorithm(head_files: Path) -> None:
    seg = dcmread(head_files / "SEG" / "CT.dcm")
    last = seg.SegmentSequence[-1]
    assert last.SegmentLabel == "Lesion: oedema"
    assert last.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Edema"
    assert last.AnatomicRegionSequence[0].CodeMeaning == "Cerebral White Matter"
    assert all(
        "SegmentationAlgorithmIdentificationSequence" not in one for one in seg.SegmentSequence
    )


def test_a_radiograph_is_the_same_picture_in_both_photometrics(tmp_path: Path) -> None:
    images = []
    for is_monochrome1 in (False, True):
        recipe = Recipe("chest", (Modality.DX,), seed=1, matrix=64, is_monochrome1=is_monochrome1)
        folder = tmp_path / str(is_monochrome1)
        images.append(dcmread(write_dicom(make_study(recipe, 0), folder)[Modality.DX] / "0001.dcm"))
    plain, inverted = images
    assert complaints((tmp_path / "True/DX/0001.dcm").read_bytes(), tmp_path) == []
    said = [(one.PhotometricInterpretation, one.PresentationLUTShape) for one in images]
    assert said == [("MONOCHROME2", "IDENTITY"), ("MONOCHROME1", "INVERSE")]
    assert np.array_equal(plain.pixel_array, 4095 - inverted.pixel_array)
    assert plain.SOPInstanceUID != inverted.SOPInstanceUID
    assert (plain.ViewPosition, list(plain.PatientOrientation)) == ("PA", ["L", "F"])
    assert [float(value) for value in plain.ImagerPixelSpacing] == pytest.approx([350 / 128] * 2)


def test_the_same_seed_writes_the_same_bytes(
    head: SyntheticStudy, head_files: Path, tmp_path: Path
) -> None:
    write_dicom(make_study(head.recipe, 0), tmp_path)
    files = sorted(path for path in head_files.rglob("*.dcm"))
    assert len(files) == 5 * 24 + 5 + 1
    for path in files:
        assert path.read_bytes() == (tmp_path / path.relative_to(head_files)).read_bytes()


def test_another_image_of_the_same_patient_has_other_uids(tmp_path: Path) -> None:
    """One SOP Instance UID never names two contents; the patient's study stays one."""
    headers = []
    for name, effects in (("clean", CLEAN), ("noisy", Effects(noise=3))):
        recipe = Recipe("head", (Modality.CT,), matrix=16, slices=4, effects=effects)
        write_dicom(make_study(recipe, 0), tmp_path / name)
        headers.append(dcmread(tmp_path / name / "CT" / "0001.dcm"))
    one, other = headers
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.StudyInstanceUID == other.StudyInstanceUID
    assert one.FrameOfReferenceUID == other.FrameOfReferenceUID


def test_nifti_lies_on_the_same_millimetres(head: SyntheticStudy, tmp_path: Path) -> None:
    """NIfTI counts x to the right: a lesion on the left is at negative x."""
    written = write_nifti(head, tmp_path)
    lesion = head.anatomy.lesion
    assert lesion is not None
    labels = nibabel.load(tmp_path / "labels.nii.gz")
    mask = np.asarray(labels.dataobj) == head.anatomy.label_value("lesion")
    x, y, z = lps_of(labels.affine, mask)
    assert (-x, -y, z) == pytest.approx(lesion.centre_mm, abs=1.5)
    for modality in (Modality.CT, Modality.T1, Modality.T2, Modality.FLAIR, Modality.PD):
        image = nibabel.load(written[modality])
        assert image.shape == labels.shape == (64, 64, 24)
        assert np.allclose(image.affine, labels.affine)
    hu = np.asarray(nibabel.load(tmp_path / "ct.nii.gz").dataobj)
    assert (hu.min(), hu.dtype) == (-1000, np.int16)
    assert float(hu[np.asarray(labels.dataobj) == 3].mean()) == pytest.approx(900, abs=0.6)


def test_nifti_is_the_same_bytes_again(head: SyntheticStudy, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_nifti(head, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_radiograph_is_a_grey_picture_too(chest: SyntheticStudy, tmp_path: Path) -> None:
    written = write_nifti(chest, tmp_path)
    with Picture.open(written[Modality.DX]) as picture:
        assert (picture.mode, picture.size) == ("L", (128, 128))
        assert picture.getextrema() == (0, 255)


def test_stored_values_are_12_bits() -> None:
    extremes = np.array([[[-2000.0, -1024.0, 0.0, 9000.0]]], np.float32)
    assert stored_values(extremes, Modality.CT).tolist() == [[[0, 0, 1024, 4095]]]
    assert stored_values(extremes, Modality.T1).tolist() == [[[0, 0, 0, 4095]]]

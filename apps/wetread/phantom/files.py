"""A synthetic study on disk: as DICOM with its true SEG, or as NIfTI and PNG."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from wetread import __version__
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.labels import count_labels
from wetread.dicom.result_header import file_bytes
from wetread.dicom.seg import build_segmentation
from wetread.dicom.volume import load_volume
from wetread.phantom.codes import segments_of
from wetread.phantom.contrast import Modality
from wetread.phantom.effects import Image
from wetread.phantom.headers import (
    CT_INTERCEPT_HU,
    LARGEST,
    radiograph_header,
    series_uid_parts,
    slice_header,
)
from wetread.phantom.study import Projection, SyntheticStudy
from wetread.results import ModelIdentity, ResultContext, SegmentationResult
from wetread.uids import derived_uid

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Stored units of MR for one unit of signal; the brightest tissue stays below 12 bits.
_MR_STORED = 2.0
_CREATED_AT = datetime(2025, 1, 1, 12, tzinfo=UTC)


def write_dicom(study: SyntheticStudy, folder: Path) -> Mapping[Modality, Path]:
    """Write each modality as a series in a folder of its own, and `SEG/<modality>.dcm`.

    Returns the folder of each series. All are one study of one patient; CT and MR share the frame
    of reference. The SEG has the true label of each voxel's middle.
    """
    written = {}
    for modality, image in study.images.items():
        written[modality] = _new(folder / modality)
        _write_series(study, modality, stored_values(image, modality), written[modality])
        _write_truth(study, modality, written[modality], _new(folder / "SEG"))
    if study.projection is not None:
        written[Modality.DX] = _new(folder / Modality.DX)
        _write_radiograph(study, study.projection, written[Modality.DX])
    return written


def write_nifti(study: SyntheticStudy, folder: Path) -> Mapping[Modality, Path]:
    """Write `t1.nii.gz` and so on, `labels.nii.gz`, and a radiograph as `dx.png`.

    Returns the file of each modality. All volumes lie on one grid, with an affine to RAS mm. CT is
    in HU; the PNG has 8 bits, bone bright.
    """
    _new(folder)
    written = {}
    for modality, image in study.images.items():
        written[modality] = folder / f"{modality.lower()}.nii.gz"
        stored = stored_values(image, modality).astype(np.int16)
        offset = CT_INTERCEPT_HU if modality is Modality.CT else 0
        _save_nifti(stored + np.int16(offset), study, written[modality])
    if study.images:
        _save_nifti(study.labels, study, folder / "labels.nii.gz")
    if study.projection is not None:
        written[Modality.DX] = folder / "dx.png"
        pixels = np.round(study.projection.presented() * 255).astype(np.uint8)
        Picture.fromarray(pixels).save(written[Modality.DX])
    return written


def stored_values(image: Image, modality: Modality) -> NDArray[np.uint16]:
    """The 12 bits that the files hold: HU + 1024 for CT, twice the signal for MR."""
    values = image - CT_INTERCEPT_HU if modality is Modality.CT else image * _MR_STORED
    return np.clip(np.rint(values), 0, LARGEST).astype(np.uint16)


def _write_series(
    study: SyntheticStudy, modality: Modality, stored: NDArray[np.uint16], folder: Path
) -> None:
    for number, pixels in enumerate(stored):
        dataset = slice_header(study, modality, number, pixels)
        dataset.save_as(folder / f"{number + 1:04}.dcm", enforce_file_format=True)


def _write_radiograph(study: SyntheticStudy, projection: Projection, folder: Path) -> None:
    stored = np.rint(projection.presented() * LARGEST).astype(np.uint16)
    is_monochrome1 = study.recipe.is_monochrome1
    if is_monochrome1:
        stored = np.uint16(LARGEST) - stored
    dataset = radiograph_header(study, stored, projection.pixel_mm, is_monochrome1=is_monochrome1)
    dataset.save_as(folder / "0001.dcm", enforce_file_format=True)


def _write_truth(study: SyntheticStudy, modality: Modality, series: Path, folder: Path) -> None:
    """The SEG of a series, which is read back as any reader would read it."""
    [found] = read_study(find_instances(series)).series
    source = load_volume(found)
    model = ModelIdentity("phantom truth", __version__, "")
    result = SegmentationResult(study.labels, segments_of(study.anatomy), model)
    job_uid = derived_uid(*series_uid_parts(study, modality), "truth")
    device_uid = derived_uid("phantom")
    context = ResultContext(job_uid, _CREATED_AT, device_uid, "PHANTOM", __version__)
    dataset = build_segmentation(result, source, context, count_labels(result, source.shape))
    for segment in dataset.SegmentSequence:
        # It is no finding of an algorithm, artificial or other: it is how the image was made.
        del segment.SegmentationAlgorithmIdentificationSequence
    (folder / f"{modality}.dcm").write_bytes(file_bytes(dataset))


def _save_nifti(array: NDArray[np.integer], study: SyntheticStudy, path: Path) -> None:
    # NIfTI's axes are (column, row, slice), as its readers expect of an axial image.
    affine = _RAS_TO_LPS @ study.grid.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""NIfTI in, NIfTI out, for research without DICOM."""

from __future__ import annotations

import zlib
from pathlib import Path

import highdicom
import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from wetread.errors import InputError

_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
)
# Patient x and y point the other way in NIfTI (RAS+) than in DICOM (LPS+).
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume_from_nifti(path: Path) -> highdicom.Volume:
    """The image as a volume: its own axes, float32, with an affine to LPS mm.

    Raises InputError if the file is no readable three-dimensional NIfTI on perpendicular axes.
    """
    try:
        image = nibabel.load(path)
        array = np.asarray(image.get_fdata(dtype=np.float32))
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as NIfTI: {error}", hint="check it") from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise InputError(
            f"{path}: {array.ndim} dimensions {array.shape}, a volume has 3",
            hint="give one volume of the series",
        )
    affine = _RAS_TO_LPS @ np.asarray(image.affine, np.float64)
    try:
        return highdicom.Volume(array, affine, coordinate_system="PATIENT")
    except ValueError as error:
        raise InputError(
            f"{path}: the affine is no regular grid: {error}",
            hint="resample the image to axes that are perpendicular",
        ) from error


def write_nifti(
    path: Path, labelmap: NDArray[np.unsignedinteger], volume: highdicom.Volume
) -> None:
    """Write a labelmap that lies on the grid of `volume`, with an affine to RAS mm."""
    affine = _RAS_TO_LPS @ np.asarray(volume.affine, np.float64)
    image = nibabel.Nifti1Image(labelmap, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)

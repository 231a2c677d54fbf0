"""NIfTI and pictures in, NIfTI out, for research without DICOM."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.pictures import read_picture
from wetread.errors import InputError

_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    TypeError,
    # A damaged header may claim more voxels than there is memory.
    MemoryError,
    OverflowError,
)
# Patient x and y point the other way in NIfTI (RAS+) than in DICOM (LPS+).
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Codes of the unit of length, in the low three bits of xyzt_units: none (many programs leave it out
# and mean mm), metre, millimetre, micrometre.
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


def volume_from_nifti(path: Path) -> highdicom.Volume:
    """The image as a volume: its own axes, float32, with an affine to LPS mm.

    Raises InputError if the file is no readable NIfTI, does not say where its voxels lie, or is no
    three-dimensional image of real numbers on perpendicular axes.
    """
    try:
        image = nibabel.load(path)
        _check_header(path, image)
        array = np.asarray(image.get_fdata(dtype=np.float32))
    except _UNREADABLE as error:
        what = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as NIfTI: {what}", hint="copy it again, try it in a viewer"
        ) from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.size == 0:
        raise InputError(
            f"{path}: the shape is {array.shape}, a volume has 3 axes of at least 1 voxel",
            hint="give one volume of the series",
        )
    try:
        return highdicom.Volume(array, _affine_lps_mm(path, image), coordinate_system="PATIENT")
    except ValueError as error:
        raise InputError(
            f"{path}: the affine is no regular grid: {error}",
            hint="resample the image to axes that are perpendicular",
        ) from error


def volume_from_picture(
    path: Path, value_range: tuple[float, float] = (0.0, 255.0)
) -> highdicom.Volume:
    """A PNG or JPEG file as a volume of one slice, (1, row, column), pixels of 1 mm.

    Black becomes the first and white the second number of `value_range`. Raises InputError.
    """
    try:
        picture = read_picture(path, value_range)
    except DataFolderError as error:
        raise InputError(str(error), hint="give a PNG or JPEG file") from error
    affine = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    return highdicom.Volume(picture[None], affine, coordinate_system="PATIENT")


def _check_header(path: Path, image: Any) -> None:
    if not isinstance(image, nibabel.Nifti1Pair):
        raise InputError(f"{path}: is no NIfTI", hint="convert it to NIfTI")
    if image.get_data_dtype().kind not in "biuf":
        raise InputError(
            f"{path}: voxels of type {image.get_data_dtype()}, a volume has one real number each",
            hint="give the magnitude, or one channel",
        )
    # NIfTI's method 1: nibabel would guess which side is left.
    if not (int(image.header["sform_code"]) or int(image.header["qform_code"])):
        raise InputError(
            f"{path}: neither sform nor qform says where its voxels lie",
            hint="convert it again from the original, keeping its orientation",
        )


def _affine_lps_mm(path: Path, image: Any) -> NDArray[np.float64]:
    unit = int(image.header["xyzt_units"]) & 0b111
    if unit not in _MILLIMETRES:
        raise InputError(
            f"{path}: unit of length {unit}, NIfTI knows {sorted(_MILLIMETRES)}",
            hint="set xyzt_units in its header",
        )
    affine = _RAS_TO_LPS @ np.asarray(image.affine, np.float64)
    affine[:3] *= _MILLIMETRES[unit]
    return affine


def write_nifti(
    path: Path, array: NDArray[np.unsignedinteger | np.float32], volume: highdicom.Volume
) -> None:
    """Write a labelmap, or numbers, on the grid of `volume`, with an affine to RAS mm."""
    affine = _RAS_TO_LPS @ np.asarray(volume.affine, np.float64)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)

"""A DICOM series as one regular volume in NIfTI, or the reason why it is none."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from lib.errors import DisagreementError, WrongImageError
from wetread.bundle_components.labelmaps import OffGridError, Place, place_voxels

# Of the median step between slices.
_SPACING_TOLERANCE = 0.01
_ORIENTATION_TOLERANCE = 1e-3
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Grid:
    """Voxels (column, row, slice) of a shape; `affine` leads from their indices to mm in LPS."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """The same to mm in RAS, which is what NIfTI counts in."""
        return LPS_TO_RAS @ self.affine

    def place(self, indices: NDArray[np.int_], affine: NDArray[np.float64], what: str) -> Place:
        """See `place_voxels`. Raises DisagreementError."""
        try:
            return place_voxels(indices, affine, self.affine, self.shape, what)
        except OffGridError as error:
            raise DisagreementError(error.message, hint=error.hint) from error


def read_headers(folder: Path) -> list[Dataset]:
    """Every instance of a folder without its pixels, by position along the slice normal.

    Raises WrongImageError if they are no regular volume, see `grid_of`.
    """
    found = [dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))]
    if not found:
        raise WrongImageError(f"{folder.name} has no instances", hint="ask the archive for them")
    for each in found:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if not each.get(keyword):
                raise WrongImageError(
                    f"instance {each.SOPInstanceUID} has no {keyword}",
                    hint="only volumes of single-frame CT and MR can be annotated from an archive",
                )
    normal = _normal(found[0])
    return sorted(found, key=lambda each: float(np.dot(normal, _position(each))))


def grid_of(headers: Sequence[Dataset]) -> Grid:
    """The grid of a series in the order of `read_headers` (PS3.3 C.7.6.2).

    Raises WrongImageError with the numbers if orientation, size or spacing change within it.
    """
    first = headers[0]
    for each in headers[1:]:
        same = (each.Rows, each.Columns) == (first.Rows, first.Columns) and np.allclose(
            np.asarray(each.ImageOrientationPatient, float),
            np.asarray(first.ImageOrientationPatient, float),
            atol=_ORIENTATION_TOLERANCE,
        )
        if not same:
            raise WrongImageError(
                f"instance {each.SOPInstanceUID} is {each.Rows} x {each.Columns} with another "
                f"size or orientation than {first.SOPInstanceUID}",
                hint="the series holds more than one volume",
            )
    across, down = (float(each) for each in first.PixelSpacing)
    row, column = _directions(first)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * down, column * across
    affine[:3, 2] = _step(headers)
    affine[:3, 3] = _position(first)
    return Grid((int(first.Columns), int(first.Rows), len(headers)), affine)


def write_volume(folder: Path, output: Path) -> None:
    """The series in `folder` as NIfTI, in its own units after Rescale Slope and Intercept.

    Raises WrongImageError, see `grid_of`.
    """
    headers = read_headers(folder)
    grid = grid_of(headers)
    names = [str(Path(str(each.filename))) for each in headers]
    slices = [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(name))[0] for name in names]
    # (slice, row, column) → (column, row, slice)
    array = np.stack(slices).transpose(2, 1, 0)
    if array.ndim != 3:
        raise WrongImageError(f"{folder.name} is in colour", hint="send it in grey values")
    kept = array.astype(np.float32) if array.dtype.kind == "f" else array
    if kept.dtype in (np.dtype(np.int64), np.dtype(np.uint64)):
        kept = kept.astype(np.int32)
    write_nifti(kept, grid.affine_ras, output)


def write_nifti(array: NDArray[np.generic], affine_ras: NDArray[np.float64], output: Path) -> None:
    """Write the file as a whole; (column, row, slice)."""
    image = nibabel.Nifti1Image(array, affine_ras)
    image.header.set_xyzt_units("mm")
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{uuid.uuid4().hex}-{output.name}")
    nibabel.save(image, temporary)
    temporary.replace(output)


def nifti_bytes(array: NDArray[np.generic], affine_ras: NDArray[np.float64]) -> bytes:
    """The same as the bytes of a `.nii.gz` file."""
    image = nibabel.Nifti1Image(array, affine_ras)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def read_grid(image: Path) -> Grid:
    """The grid of a NIfTI file with three axes.

    Raises WrongImageError for another number of axes.
    """
    opened = nibabel.load(image)
    if len(opened.shape) != 3:
        raise WrongImageError(f"{image.name} has {len(opened.shape)} axes", hint="it needs three")
    column, row, plane = (int(each) for each in opened.shape)
    return Grid((column, row, plane), LPS_TO_RAS @ np.asarray(opened.affine, float))


def _directions(header: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.asarray(header.ImageOrientationPatient, float)
    return values[:3], values[3:]


def _normal(header: Dataset) -> NDArray[np.float64]:
    row, column = _directions(header)
    return np.cross(row, column)


def _position(header: Dataset) -> NDArray[np.float64]:
    return np.asarray(header.ImagePositionPatient, float)


def _step(headers: Sequence[Dataset]) -> NDArray[np.float64]:
    """From one slice to the next, in mm."""
    normal = _normal(headers[0])
    if len(headers) == 1:
        return normal * float(headers[0].get("SliceThickness") or 1.0)
    positions = np.stack([_position(each) for each in headers])
    steps = np.diff(positions, axis=0)
    along = steps @ normal
    median = float(np.median(along))
    worst = int(np.argmax(np.abs(along - median)))
    if median <= 0 or abs(along[worst] - median) > _SPACING_TOLERANCE * median:
        raise WrongImageError(
            f"between instances {headers[worst].SOPInstanceUID} and "
            f"{headers[worst + 1].SOPInstanceUID} are {along[worst]:.3f} mm, between most "
            f"{median:.3f} mm",
            hint="a slice is missing or there twice; send the series again",
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(headers) - 1)
    return step

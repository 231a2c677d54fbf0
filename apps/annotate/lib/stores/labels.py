"""A label as a viewer sends it → a labelmap on the image's grid, in a bundle's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from lib.bundles import Bundle
from lib.errors import WrongLabelError
from lib.stores.naming import values_to_segments
from lib.stores.volume import LPS_TO_RAS, Grid, read_grid

NIFTI, NRRD, RAW = (".nii", ".nii.gz"), (".nrrd", ".seg.nrrd"), (".bin",)
_LARGEST_VALUE = 255


@dataclass(frozen=True)
class Label:
    """`labelmap` is (column, row, slice), uint8, in the values of `bundle`."""

    bundle: Bundle
    labelmap: NDArray[np.uint8]
    grid: Grid

    @property
    def voxels(self) -> dict[str, int]:
        """Name of each segment → its number of voxels."""
        return {
            each.label: int(np.count_nonzero(self.labelmap == each.label_value))
            for each in self.bundle.segments
        }


def read_label(
    file: Path, image: Path, params: Mapping[str, Any], bundles: Mapping[str, Bundle]
) -> Label:
    """What was sent for an image: NIfTI or NRRD, of a part of it too, or OHIF's bare bytes.

    An empty label is one: the reader says that there is nothing.

    Raises WrongLabelError, and DisagreementError if it is on another grid, see `Grid.place`.
    """
    grid = read_grid(image)
    sent = _placed(file, grid)
    present = [int(value) for value in np.unique(sent) if value]
    bundle, table = values_to_segments(present, params, bundles)
    labelmap = np.zeros(grid.shape, np.uint8)
    for value, segment in table.items():
        labelmap[sent == value] = segment.label_value
    return Label(bundle, labelmap, grid)


def _placed(file: Path, grid: Grid) -> NDArray[np.uint8]:
    if file.name.endswith(RAW):
        return _raw(file, grid)
    array, affine = _read(file)
    if array.ndim != 3:
        raise WrongLabelError(f"the label has {array.ndim} axes", hint="it needs three")
    if np.any(array != np.rint(array)) or array.min() < 0 or array.max() > _LARGEST_VALUE:
        raise WrongLabelError(
            f"the label holds values from {array.min():g} to {array.max():g}",
            hint="send whole numbers from 0 to 255",
        )
    indices = np.stack(np.nonzero(array))
    placed = np.zeros(grid.shape, np.uint8)
    placed[grid.place(indices, affine, "the label")] = array[tuple(indices)].astype(np.uint8)
    return placed


def _raw(file: Path, grid: Grid) -> NDArray[np.uint8]:
    values = np.fromfile(file, np.uint8)
    if values.size != np.prod(grid.shape):
        raise WrongLabelError(
            f"the label has {values.size} bytes, the image {grid.shape} voxels",
            hint="one byte a voxel, columns first",
        )
    return values.reshape(grid.shape, order="F")


def _read(file: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Array (column, row, slice) and its affine to LPS mm."""
    try:
        if file.name.endswith(NIFTI):
            opened = nibabel.load(file)
            return np.asarray(opened.dataobj), LPS_TO_RAS @ np.asarray(opened.affine, float)
        if file.name.endswith(NRRD):
            return _read_nrrd(file)
    except (OSError, EOFError, ValueError, RuntimeError, ImageFileError) as error:
        raise WrongLabelError(
            f"the label cannot be read: {error}", hint="was it sent as a whole?"
        ) from error
    raise WrongLabelError(
        f"a label in {''.join(file.suffixes) or 'a file without a suffix'}",
        hint="send .nii.gz, .nrrd or .bin",
    )


def _read_nrrd(file: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    image = SimpleITK.ReadImage(str(file))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise WrongLabelError("the label has several layers", hint="merge them into one labelmap")
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine

"""Labels of one grid laid onto another, and Segmentation objects laid onto an image.

Both environments read Segmentations, with different releases of pydicom; here a data set is only
looked into, by the names of its attributes. Affines are 4 × 4, to LPS mm; grids are (column, row,
slice).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of a voxel: how far another grid may lie beside the image's.
TOLERANCE = 0.05
Place = tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]


class OffGridError(ValueError):
    """A label does not lie on the voxels of its image; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def place_voxels(
    indices: NDArray[np.int_],
    affine: NDArray[np.float64],
    image_affine: NDArray[np.float64],
    shape: Sequence[int],
    what: str,
) -> Place:
    """Where voxels (3, n) of a grid with `affine` lie in the image.

    Raises OffGridError, which names `what`, if they lie between its voxels, outside, or several in
    one.
    """
    ones = np.ones((1, indices.shape[1]))
    exact = (np.linalg.inv(image_affine) @ affine @ np.vstack([indices, ones]))[:3]
    voxels = np.rint(exact).astype(int)
    off = float(np.max(np.abs(exact - voxels), initial=0.0))
    if off > TOLERANCE:
        raise OffGridError(
            f"{what}: lies {off:.2f} voxels beside the image's grid",
            hint="it was drawn on another image or resampled; draw it on this one",
        )
    limits = np.asarray(shape)[:, None]
    outside = int(np.count_nonzero(np.any((voxels < 0) | (voxels >= limits), axis=0)))
    if outside:
        raise OffGridError(
            f"{what}: {outside} voxels lie outside the image", hint="is it of another image?"
        )
    flat = np.ravel_multi_index(tuple(voxels), tuple(shape))
    if np.unique(flat).size != flat.size:
        raise OffGridError(
            f"{what}: several voxels fall into one of the image", hint="it is on a finer grid"
        )
    return voxels[0], voxels[1], voxels[2]


def labelmap_of(
    dataset: Any,
    image_affine: NDArray[np.float64],
    shape: Sequence[int],
    values: Mapping[int, int],
) -> NDArray[np.uint8]:
    """The labelmap of a Segmentation (PS3.3 A.51) on the image's grid, uint8.

    `values` are the label values by Segment Number. Each frame is placed where its position says;
    slices that it lacks are empty.

    Raises OffGridError as `place_voxels`, and if two segments claim a voxel.
    """
    what = f"SEG {dataset.SOPInstanceUID}"
    labelmap = np.zeros(tuple(shape), np.uint8)
    for number, affine, frame in _frames(dataset):
        rows, columns = np.nonzero(frame)
        if not rows.size:
            continue
        indices = np.stack([columns, rows, np.zeros_like(rows)])
        place = place_voxels(indices, affine, image_affine, shape, what)
        taken = int(np.count_nonzero(labelmap[place]))
        if taken:
            raise OffGridError(
                f"{what}: {taken} voxels are claimed by two segments",
                hint="a labelmap holds one label a voxel; remove the overlap in the viewer",
            )
        labelmap[place] = values[number]
    return labelmap


def _frames(dataset: Any) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.uint8]]]:
    """Segment number, affine of (column, row, 0), and pixels of each frame."""
    pixels = dataset.pixel_array
    frames = pixels[None] if pixels.ndim == 2 else pixels
    shared = dataset.SharedFunctionalGroupsSequence[0]
    labelmap = dataset.SegmentationType == "LABELMAP"
    for own, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        affine = _frame_affine(own, shared)
        if labelmap:
            for number in np.unique(frame[frame > 0]):
                yield int(number), affine, frame == number
        else:
            group = _group(own, shared, "SegmentIdentificationSequence")
            yield int(group.ReferencedSegmentNumber), affine, frame


def _frame_affine(own: Any, shared: Any) -> NDArray[np.float64]:
    plane = _group(own, shared, "PlaneOrientationSequence")
    orientation = np.asarray(plane.ImageOrientationPatient, float)
    spacing = _group(own, shared, "PixelMeasuresSequence").PixelSpacing
    across, down = (float(each) for each in spacing)
    position = _group(own, shared, "PlanePositionSequence").ImagePositionPatient
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[:3] * down, orientation[3:] * across
    affine[:3, 2] = np.cross(orientation[:3], orientation[3:])
    affine[:3, 3] = np.asarray(position, float)
    return affine


def _group(own: Any, shared: Any, name: str) -> Any:
    """The item of a functional group, of the frame or of all (PS3.3 C.7.6.16)."""
    return (own.get(name) or shared[name].value)[0]

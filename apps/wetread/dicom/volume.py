"""From the files of one series to one volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from wetread.dicom.geometry import Grid, grid_of
from wetread.dicom.headers import (
    ENHANCED,
    PIXEL_KEYWORDS,
    PROJECTION,
    Image,
    Rescale,
    check_frame_of_reference,
    check_image,
    check_kind,
    is_projection,
    pixel_spacing_of_projection,
    plane_of_image,
    planes_of_frames,
    read_image,
    required,
    rescale_of_image,
    rescales_of_frames,
)
from wetread.dicom.pixels import Stored, decode_frames, decode_image, look_up
from wetread.errors import InputError, UnsupportedSeriesError
from wetread.results import Extent
from wetread.study import Series

AIR_HU = -1000.0


@dataclass(frozen=True, slots=True)
class SourceVolume:
    """One series as an array with the headers it came from.

    `volume.array` is float32 of shape (slice, row, column), in HU for CT and in rescaled values
    otherwise; `volume.affine` maps (slice, row, column) to LPS mm; slices are counted along row
    direction × column direction. A projection is one slice, bright where it is shown bright; its
    affine gives only the size of its pixels. `instances` are headers without pixel data, in slice
    order; a multi-frame image stands there once, and `frame_numbers` holds its frames in slice
    order.
    """

    volume: highdicom.Volume
    instances: tuple[Dataset, ...]
    frame_numbers: tuple[int, ...] = ()

    @property
    def array(self) -> NDArray[np.float32]:
        """The values, (slice, row, column)."""
        return np.asarray(self.volume.array)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(slice, row, column) to LPS mm, 4 × 4."""
        return np.asarray(self.volume.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slice, row, column)."""
        slices, rows, columns = self.volume.array.shape
        return slices, rows, columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns."""
        slices, rows, columns = (float(x) for x in np.linalg.norm(self.affine[:3, :3], axis=0))
        return slices, rows, columns

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel; a projection has none, see `extent`."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def extent(self) -> Extent:
        """What one voxel takes up, or one pixel of a projection."""
        if self.is_projection:
            _, rows, columns = self.spacing_mm
            return Extent(rows * columns / 100, "cm²")
        return Extent(self.voxel_ml, "mL")

    @property
    def modality(self) -> str:
        """CT, MR, CR or DX."""
        return str(self.instances[0].Modality)

    @property
    def is_projection(self) -> bool:
        """Whether it is a radiograph: it has no slices, and no place in the patient."""
        return str(self.instances[0].SOPClassUID) in PROJECTION

    def instance_of(self, index: int) -> tuple[Dataset, int | None]:
        """The header of slice `index` (from 0), and its frame number if it is a frame."""
        if self.frame_numbers:
            return self.instances[0], self.frame_numbers[index]
        return self.instances[index], None


def load_volume(series: Series, *, max_voxels: int | None = None) -> SourceVolume:
    """Stack the instances of one series into a volume.

    Instances (or the frames of one enhanced image) are ordered by position along the slice
    normal, not by Instance Number. Values are rescaled per instance, or looked up in the Modality
    LUT. Pixels that Pixel Padding
    Value marks become air (-1000 HU) in CT and the lowest value of the slice otherwise. MONOCHROME1
    says how values are shown, not what they are, and changes nothing; but of a CR or DX image the
    values are turned round, since their size means nothing else than what is shown bright.

    Returns an array of shape (slice, row, column), in Hounsfield units for CT, with an affine to
    LPS mm.

    Raises GeometryError if the slices do not form one regular volume (see `geometry.grid_of`),
    MissingAttributeError, UnsupportedSeriesError for what is no CT, MR, CR or DX image, and
    UnreadablePixelsError; UnsupportedSeriesError, too, for more than `max_voxels`, before more than
    one file is in memory. See PS3.3 C.7.6.2.1.1 for the position and orientation of a pixel.
    """
    try:
        return _load(series, max_voxels)
    except InputError as error:
        error.study_instance_uid = series.study_instance_uid
        error.series_instance_uid = series.series_instance_uid
        error.stage = error.stage or "load"
        raise


def check_alone(image: Image) -> None:
    """Raise an InputError if this image is at fault, whatever the rest of its series is like."""
    what = image.path.name
    check_image(image, what)
    if image.header.SOPClassUID in ENHANCED:
        indices = range(len(planes_of_frames(image, what)))
        rescales_of_frames(image, what)
        for _ in decode_frames(image, indices):
            pass
        return
    rescale_of_image(image, what)
    if is_projection(image):
        pixel_spacing_of_projection(image, what)
    else:
        check_frame_of_reference([image], what)
        plane_of_image(image, what)
    decode_image(image)


def _load(series: Series, max_voxels: int | None) -> SourceVolume:
    what = f"series {series.series_instance_uid}"
    if not series.instances:
        raise UnsupportedSeriesError(f"{what}: no instances", hint="check what the sender sent")
    images = [read_image(series.instances[0].path)]
    if max_voxels is not None:
        _check_size(images[0], len(series.instances), what, max_voxels)
    images += [read_image(instance.path) for instance in series.instances[1:]]
    is_enhanced = check_kind(images, what)
    if is_projection(images[0]):
        return _load_projection(images[0], what)
    frame_of_reference = check_frame_of_reference(images, what)
    if is_enhanced:
        return _load_enhanced(images[0], frame_of_reference, what)
    return _load_classic(images, frame_of_reference, what)


def _check_size(first: Image, count: int, what: str, max_voxels: int) -> None:
    header = first.header
    slices = int(header.get("NumberOfFrames") or 1) * count
    rows, columns = (int(header.get(keyword) or 0) for keyword in ("Rows", "Columns"))
    if slices * rows * columns > max_voxels:
        raise UnsupportedSeriesError(
            f"{what}: {slices} × {rows} × {columns} voxels, at most {max_voxels} are read",
            hint="send a part of it or thicker slices, or raise the model's max_voxels where there "
            "is memory: a reading takes about 40 bytes a voxel",
        )


def _load_classic(images: Sequence[Image], frame_of_reference: str, what: str) -> SourceVolume:
    grid = grid_of([plane_of_image(image, what) for image in images], what)
    ordered = [images[index] for index in grid.order]
    rescales = [rescale_of_image(image, what) for image in ordered]
    slices = (decode_image(image) for image in ordered)
    array = _fill(slices, rescales, ordered, (len(ordered), *_size(ordered[0])))
    headers = tuple(_without_pixels(image.header) for image in ordered)
    return SourceVolume(_volume(array, grid, frame_of_reference), headers)


def _load_projection(image: Image, what: str) -> SourceVolume:
    shape = (1, *_size(image))
    array = _fill([decode_image(image)], [rescale_of_image(image, what)], [image], shape)
    shown = required(image.header, "PhotometricInterpretation", image, what)
    if shown == "MONOCHROME1":
        np.subtract(array.min() + array.max(), array, out=array)
    # Rows go down the picture and columns to its right; there is no patient to be placed in.
    rows, columns = pixel_spacing_of_projection(image, what)
    affine = np.array([[0, 0, columns, 0], [0, rows, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    volume = highdicom.Volume(array, affine, "PATIENT")
    return SourceVolume(volume, (_without_pixels(image.header),))


def _load_enhanced(image: Image, frame_of_reference: str, what: str) -> SourceVolume:
    grid = grid_of(planes_of_frames(image, what), what, "frames")
    all_rescales = rescales_of_frames(image, what)
    rescales = [all_rescales[index] for index in grid.order]
    count = len(grid.order)
    frames = decode_frames(image, grid.order)
    array = _fill(frames, rescales, [image] * count, (count, *_size(image)))
    numbers = tuple(index + 1 for index in grid.order)
    headers = (_without_pixels(image.header),)
    return SourceVolume(_volume(array, grid, frame_of_reference), headers, numbers)


def _volume(array: NDArray[np.float32], grid: Grid, frame_of_reference: str) -> highdicom.Volume:
    return highdicom.Volume(array, grid.affine, "PATIENT", frame_of_reference)


def _size(image: Image) -> tuple[int, int]:
    return int(image.header.Rows), int(image.header.Columns)


def _fill(
    slices: Iterable[Stored],
    rescales: Sequence[Rescale],
    images: Sequence[Image],
    shape: tuple[int, int, int],
) -> NDArray[np.float32]:
    array = np.empty(shape, np.float32)
    filled = zip(array, slices, rescales, images, strict=True)
    for target, stored, rescale, image in filled:
        values = look_up(stored, image) if "ModalityLUTSequence" in image.header else stored
        np.multiply(values, rescale.slope, out=target, dtype=np.float32, casting="unsafe")
        if rescale.intercept:
            target += np.float32(rescale.intercept)
        if "PixelPaddingValue" in image.header:
            _replace_padding(target, stored, image.header)
    return array


def _replace_padding(target: NDArray[np.float32], stored: Stored, header: Dataset) -> None:
    # PS3.3 C.7.5.1.1.2: one value, or a range up to Pixel Padding Range Limit. Some writers give
    # these two the wrong sign's VR, so both are read in the pixels' own type.
    first = _as_stored(header.PixelPaddingValue, stored)
    last = _as_stored(header.get("PixelPaddingRangeLimit", first), stored)
    padded = (stored >= min(first, last)) & (stored <= max(first, last))
    if padded.any() and not padded.all():
        is_ct = header.Modality == "CT"
        target[padded] = AIR_HU if is_ct else target[~padded].min()
    elif padded.any() and header.Modality == "CT":
        target[padded] = AIR_HU


def _as_stored(value: int, stored: Stored) -> int:
    bits = stored.dtype.itemsize * 8
    wrapped = int(value) % (1 << bits)
    negative = stored.dtype.kind == "i" and wrapped >> (bits - 1)
    return wrapped - (1 << bits) if negative else wrapped


def _without_pixels(header: Dataset) -> Dataset:
    for keyword in PIXEL_KEYWORDS:
        if keyword in header:
            del header[keyword]
    # The stored bytes of a decoded image would live on in pydicom's cache.
    header._pixel_array = None
    return header

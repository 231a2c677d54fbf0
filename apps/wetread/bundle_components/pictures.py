"""Transforms for networks that look at single pictures: X-rays, and volumes slice by slice.

Images are (channel, slice, row, column), float32; a picture has one slice. Slices never mix.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Pad, Resize
from PIL import Image, UnidentifiedImageError

from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.transforms import Data, NoContrastError, like, plain

# Rows go down and columns to the right of the picture; RAS is how MONAI counts.
_PICTURE_AFFINE = np.array(
    [[0.0, 0.0, -1.0, 0.0], [0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)


def read_picture(path: str | Path, value_range: Sequence[float] = (0.0, 255.0)) -> np.ndarray:
    """A PNG or JPEG file as grey values, (row, column), float32.

    Black becomes the first and white the second number of `value_range`: for CT the bounds of the
    window in HU that the picture was made with.

    Raises DataFolderError if it is no picture.
    """
    try:
        with Image.open(path) as opened:
            deep = opened.mode.startswith("I")
            grey = np.asarray(opened if deep else opened.convert("L"), np.float32)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataFolderError(f"{path}: no picture: {error}") from error
    low, high = value_range
    return grey * np.float32((high - low) / (65535.0 if deep else 255.0)) + np.float32(low)


class LoadPictured(MapTransform):
    """Path → (1, 1, row, column), see `read_picture`."""

    def __init__(self, keys: KeysCollection, value_range: Sequence[float] = (0.0, 255.0)) -> None:
        super().__init__(keys)
        self.value_range = value_range

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            path = str(d[key])
            picture = torch.from_numpy(read_picture(path, self.value_range))[None, None]
            affine = torch.from_numpy(_PICTURE_AFFINE)
            d[key] = MetaTensor(picture, affine=affine, meta={"filename_or_obj": path})
        return d


class ScaleSlicesd(MapTransform):
    """Map the `lower` and `upper` percentiles (0..100) of each slice to 0 and 1, and clip.

    A slice of one value becomes 0. Raises NoContrastError if there is no other slice.
    """

    def __init__(self, keys: KeysCollection, lower: float, upper: float) -> None:
        super().__init__(keys)
        self.percentiles = (lower, upper)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = like(self._scaled(plain(d[key])), d[key])
        return d

    def _scaled(self, image: torch.Tensor) -> torch.Tensor:
        bounds = np.percentile(image.numpy(), self.percentiles, axis=(-2, -1), keepdims=True)
        low, high = (torch.from_numpy(bound.astype(np.float32)) for bound in bounds)
        if not (high > low).any():
            raise NoContrastError(
                f"the image has no contrast: the {self.percentiles[0]} % and "
                f"{self.percentiles[1]} % percentiles of each slice are equal"
            )
        width = torch.where(high > low, high - low, torch.ones_like(high))
        return ((image - low) / width).clamp_(0, 1) * (high > low)


class ResizeSlicesd(MapTransform, InvertibleTransform):
    """Each slice at `size` × `size`: padded with 0 to a square, then resized without stretching.

    Pixels are taken to be square. `Invertd` brings a map back to the rows and columns of before.
    """

    def __init__(self, keys: KeysCollection, size: int, mode: str = "area") -> None:
        super().__init__(keys)
        self._pad = Pad()
        self._resize = Resize((-1, size, size), mode=mode)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            square = self._pad(d[key], to_pad=_to_square(d[key].shape))
            d[key] = self._resize(square)
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        """The maps on the rows and columns of before."""
        d = dict(data)
        for key in self.key_iterator(d):
            # Back up, the mean of an area would be blocks.
            image: MetaTensor = d[key]
            image.applied_operations[-1]["extra_info"]["mode"] = "trilinear"
            d[key] = self._pad.inverse(self._resize.inverse(image))
        return d


def _to_square(shape: Sequence[int]) -> list[tuple[int, int]]:
    """What to add before and after (channel, slice, row, column) so that rows equal columns."""
    rows, columns = shape[-2:]
    longest = max(rows, columns)
    missing = [(longest - length) for length in (rows, columns)]
    return [(0, 0), (0, 0), *((each // 2, each - each // 2) for each in missing)]

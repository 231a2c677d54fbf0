"""Dictionary transforms that MONAI does not have.

Images are channel first: (channel, x, y, z), float32, in whatever orientation the bundle asked for
before. Every number comes from the bundle's configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, Cropd, KeepLargestConnectedComponent, MapTransform

Data = dict[Hashable, torch.Tensor]
Box = tuple[slice, ...]


class NoContrastError(ValueError):
    """The image has the same value everywhere, or nearly: there is nothing to normalise by."""


class NothingFoundError(ValueError):
    """The locating network found no region, so there is nothing to read."""


def resize_nearest(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """`image` (channel, …) at the spatial `shape`; a voxel takes the value nearest its centre."""
    return torch.nn.functional.interpolate(image[None], tuple(shape), mode="nearest-exact")[0]


def standardize(image: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """`image` shifted and scaled to the given mean and (sample) standard deviation.

    An image of one value becomes `mean` everywhere.
    """
    deviation = image.std()
    scale = std / deviation if deviation > 0 else torch.zeros_like(deviation)
    return (image - image.mean()).mul_(scale).add_(mean)


class ScaleByPercentilesd(MapTransform):
    """Map the `lower` and `upper` percentiles (0..100) to 0 and 1, and clip what lies outside.

    The percentiles are those of the image sampled at `sample_shape` (nearest), so that they do not
    depend on the resolution. Raises NoContrastError if they are equal.
    """

    def __init__(
        self, keys: KeysCollection, lower: float, upper: float, sample_shape: Sequence[int]
    ) -> None:
        super().__init__(keys)
        self.percentiles = (lower, upper)
        self.sample_shape = sample_shape

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = like(self._scaled(plain(d[key])), d[key])
        return d

    def _scaled(self, image: torch.Tensor) -> torch.Tensor:
        sample = resize_nearest(image, self.sample_shape).numpy()
        low, high = (float(value) for value in np.percentile(sample, self.percentiles))
        if not high > low:
            raise NoContrastError(
                f"the image has no contrast: its {self.percentiles[0]} % and "
                f"{self.percentiles[1]} % percentiles are {low:g} and {high:g}"
            )
        return (image - low).div_(high - low).clamp_(0, 1)


class StandardizeIntensityd(MapTransform):
    """Shift and scale the whole image to `mean` and `std`."""

    def __init__(self, keys: KeysCollection, mean: float, std: float) -> None:
        super().__init__(keys)
        self.mean = mean
        self.std = std

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = like(standardize(plain(d[key]), self.mean, self.std), d[key])
        return d


class CropToLocatedRegiond(Cropd):
    """Crop to the box around what a coarse `locator` network finds in the whole image.

    The image is resized (nearest) to `locator_shape` and standardised to `mean` and `std`; the
    network's output `channel` above `threshold`, its largest component, is the region. Planes of
    which less than the fraction `min_plane_fraction` is region do not count for the box, which is
    then widened by `margin` of its size on each side and cut at the image's edge. `Invertd` puts
    zeros around the box.

    Raises NothingFoundError if no plane counts.
    """

    def __init__(
        self,
        keys: KeysCollection,
        locator: Callable[[torch.Tensor], torch.Tensor],
        locator_shape: Sequence[int],
        mean: float,
        std: float,
        channel: int,
        threshold: float,
        min_plane_fraction: float,
        margin: float,
    ) -> None:
        super().__init__(keys, cropper=Crop())
        self.locator = locator
        self.locator_shape = locator_shape
        self.mean = mean
        self.std = std
        self.channel = channel
        self.threshold = threshold
        self.min_plane_fraction = min_plane_fraction
        self.margin = margin
        self._largest = KeepLargestConnectedComponent(applied_labels=[1])

    def __call__(self, data: Mapping[Hashable, torch.Tensor], lazy: bool | None = None) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            region = self._located(plain(d[key]))
            box = region_box(region, d[key].shape[1:], self.min_plane_fraction, self.margin)
            d[key] = self.cropper(d[key], slices=box)
        return d

    def _located(self, image: torch.Tensor) -> torch.Tensor:
        small = resize_nearest(image, self.locator_shape)
        with torch.no_grad():
            output = self.locator(standardize(small, self.mean, self.std)[None])
        mask = (output[0, self.channel, None] > self.threshold).to(torch.uint8)
        return plain(self._largest(mask))[0] > 0


def region_box(
    region: torch.Tensor, shape: Sequence[int], min_plane_fraction: float, margin: float
) -> Box:
    """The box, in voxels of an image of `shape`, around the boolean `region` of the same field.

    Raises NothingFoundError if on some axis no plane has `min_plane_fraction` of region.
    """
    box = []
    for axis, length in enumerate(shape):
        others = [other for other in range(region.ndim) if other != axis]
        planes = torch.where(region.float().mean(others) > min_plane_fraction)[0]
        if planes.numel() == 0:
            raise NothingFoundError(
                f"no region: no plane across axis {axis} has {min_plane_fraction:.0%} of it"
            )
        edges = (int(planes.min()), int(planes.max()) + 1)
        box.append(_widened(edges, length / region.shape[axis], length, margin))
    return tuple(box)


def _widened(edges: tuple[int, int], scale: float, length: int, margin: float) -> slice:
    # round() goes to the even neighbour at .5, as torch.round does: boxes agree with deepbet's.
    center = round(scale * (edges[0] + edges[1]) / 2)
    size = round(scale * (edges[1] - edges[0]) * (1 + 2 * margin))
    return slice(max(0, int(center - size / 2)), min(length, int(center + size / 2)))


class ThresholdChanneld(MapTransform):
    """One channel above a threshold: (channel, …) probabilities → (1, …) uint8 of 0 and 1."""

    def __init__(self, keys: KeysCollection, channel: int, threshold: float) -> None:
        super().__init__(keys)
        self.channel = channel
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            mask = plain(d[key])[self.channel, None] > self.threshold
            d[key] = like(mask.to(torch.uint8), d[key])
        return d


class WithinForegroundd(MapTransform):
    """Apply an array transform of a mask, such as FillHoles, to the box around its foreground.

    The box has one plane of background around the foreground, as far as the image goes; outside of
    it the mask stays 0. The time of morphology grows with the image, most of which is empty. A mask
    without foreground stays as it is.
    """

    def __init__(
        self, keys: KeysCollection, transform: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__(keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            mask = plain(d[key]).clone()
            if mask.any():
                box = (slice(None), *_foreground_box(mask))
                mask[box] = plain(self.transform(mask[box]))
            d[key] = like(mask, d[key])
        return d


def _foreground_box(mask: torch.Tensor) -> Box:
    """The box of `mask` (channel, …) that is not 0, with one plane more on each side."""
    filled = (mask != 0).any(dim=0)
    box = []
    for axis, length in enumerate(filled.shape):
        others = [other for other in range(filled.ndim) if other != axis]
        planes = torch.where(filled.amax(others))[0]
        box.append(slice(max(0, int(planes[0]) - 1), min(length, int(planes[-1]) + 2)))
    return tuple(box)


def plain(image: torch.Tensor) -> torch.Tensor:
    """Without MONAI's metadata, whose bookkeeping would slow every step of the arithmetic."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def like(result: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """`result` with the metadata of `source`, if it has any."""
    if isinstance(source, MetaTensor):
        return MetaTensor(result, meta=source.meta, applied_operations=source.applied_operations)
    return result

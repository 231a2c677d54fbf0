"""What scanners, patients and archives do to an image, in five degrees.

A volume is (slice, row, column) in any unit. Each degree is a number relative to the image itself:
its range, between the 1 % and the 99 % quantile, or its extent. Severity 0 changes nothing.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import highdicom
import numpy as np
from monai.transforms import (
    AdjustContrast,
    KSpaceSpikeNoise,
    RandBiasField,
    RandGaussianNoise,
)
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import resize

from wetread.errors import ConfigError

Array = NDArray[np.float32]
Change = Callable[[Array, float, int], Array]
"""From an image without axes of length 1, a level and a seed to the changed image."""

SEVERITIES = (1, 2, 3, 4, 5)
_MOVES = 4
_SPIKES = 3


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One kind of change: what its five levels are, from weak to strong, and how it is done."""

    meaning: str
    levels: tuple[float, float, float, float, float]
    change: Change


def perturb(array: Array, kind: str, severity: int, seed: int) -> Array:
    """`array` (slice, row, column) changed by one of `PERTURBATIONS`, as float32 of its shape.

    The same arguments give the same values; from one severity to the next only the degree changes,
    not where and how. Raises ConfigError for an unknown kind, or a severity that is not 0 to 5.
    """
    image = np.array(array, np.float32)
    level = level_of({name: each.levels for name, each in PERTURBATIONS.items()}, kind, severity)
    if level is None:
        return image
    changed = PERTURBATIONS[kind].change(image.squeeze(), level, seed)
    return np.asarray(changed, np.float32).reshape(image.shape)


def perturbed(volume: highdicom.Volume, kind: str, severity: int, seed: int) -> highdicom.Volume:
    """A volume with its values changed by `perturb`, where it lies."""
    return volume.with_array(perturb(volume.array, kind, severity, seed))


def level_of(levels: Mapping[str, tuple[float, ...]], kind: str, severity: int) -> float | None:
    """The level of a kind at a severity of 1 to 5; None at 0. Raises ConfigError for others."""
    if kind not in levels:
        raise ConfigError(f"no perturbation {kind!r}", hint=f"there are {', '.join(levels)}")
    if severity not in (0, *SEVERITIES):
        raise ConfigError(f"severity {severity} of {kind}", hint="0 is none, 5 the strongest")
    return None if severity == 0 else levels[kind][severity - 1]


def span_of(array: NDArray[np.floating]) -> float:
    """The range of an image: from its 1 % to its 99 % quantile."""
    low, high = np.quantile(array, (0.01, 0.99))
    return float(high - low)


def _noise(image: Array, level: float, seed: int) -> Array:
    add = RandGaussianNoise(prob=1.0, std=level * span_of(image), sample_std=False)
    return _plain(add.set_random_state(seed)(image[None]))


def _motion(image: Array, level: float, seed: int) -> Array:
    """The head moves a few times while the lines of each slice's k-space are taken one by one.

    By the shift theorem of the Fourier transform; lines of the centre, which make most of the
    image, lie where they were.
    """
    rows, columns = image.shape[-2:]
    random = np.random.default_rng(seed)
    moves = np.sort(random.integers(0, rows, _MOVES))
    stays = np.concatenate([np.zeros((1, 2)), random.normal(size=(_MOVES, 2)).cumsum(axis=0)])
    places: NDArray[np.float64] = stays[np.searchsorted(moves, np.arange(rows), side="right")]
    places -= places[rows // 2]
    largest = float(np.abs(places).max())
    shifts = level * places * (rows, columns) / (largest if largest > 0 else 1.0)
    down = np.fft.fftshift(np.fft.fftfreq(rows))
    along = np.fft.fftshift(np.fft.fftfreq(columns))
    turns = (down * shifts[:, 0])[:, None] + np.outer(shifts[:, 1], along)
    axes = (-2, -1)
    lines = np.fft.fftshift(np.fft.fft2(image, axes=axes), axes) * np.exp(-2j * np.pi * turns)
    moved = np.fft.ifft2(np.fft.ifftshift(lines, axes), axes=axes)
    return moved.real.astype(np.float32)


def _bias_field(image: Array, level: float, seed: int) -> Array:
    low = image.min()
    field = RandBiasField(prob=1.0, coeff_range=(-level, level)).set_random_state(seed)
    brighter: Array = _plain(field((image - low)[None])) + low
    return brighter


def _contrast(image: Array, level: float, seed: int) -> Array:
    """Dark or bright, by the seed."""
    bright = bool(np.random.default_rng(seed).integers(2))
    return _plain(AdjustContrast(1 / level if bright else level)(image[None]))


def _resolution(image: Array, level: float, _seed: int) -> Array:
    """Fewer, larger voxels, and back."""
    shape = [max(1, round(length * level)) for length in image.shape]
    fewer = resize(image, shape, order=1, mode="edge", anti_aliasing=True)
    found: Array = resize(fewer, image.shape, order=1, mode="edge")
    return found


def _spikes(image: Array, level: float, seed: int) -> Array:
    """A few points of k-space, away from its centre, far too strong: stripes."""
    random = np.random.default_rng(seed)
    places = []
    for _ in range(_SPIKES):
        offset = random.uniform(0.15, 0.35, image.ndim) * random.choice((-1, 1), image.ndim)
        places.append(
            tuple(int(n * (0.5 + part)) for n, part in zip(image.shape, offset, strict=True))
        )
    strength = math.log(max(level * span_of(image) * image.size, 1e-10))
    return _plain(KSpaceSpikeNoise(tuple(places), (strength,) * _SPIKES)(image[None]))


def _jpeg(image: Array, level: float, _seed: int) -> Array:
    """Each slice at 8 bits and a quality, by Pillow; what lies outside of the range is cut."""
    low, high = np.quantile(image, (0.001, 0.999))
    width = float(high - low) or 1.0
    bytes_ = np.clip((image - low) / width * 255, 0, 255).round().astype(np.uint8)
    slices = bytes_.reshape(-1, *image.shape[-2:])
    read = np.stack([_compressed(each, int(level)) for each in slices]).reshape(image.shape)
    found: Array = read.astype(np.float32) / 255 * width + low
    return found


def _compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _plain(image: object) -> Array:
    """Without MONAI's channel and metadata."""
    found: Array = np.asarray(image, np.float32)[0]
    return found


PERTURBATIONS: Mapping[str, Perturbation] = {
    "noise": Perturbation(
        "Gaussian noise, standard deviation in ranges", (0.02, 0.05, 0.1, 0.2, 0.4), _noise
    ),
    "motion": Perturbation(
        "largest shift within the slice, in extents", (0.01, 0.02, 0.04, 0.06, 0.1), _motion
    ),
    "bias_field": Perturbation(
        "largest coefficient of the field's logarithm", (0.05, 0.1, 0.2, 0.35, 0.5), _bias_field
    ),
    "contrast": Perturbation("exponent, or its inverse", (1.2, 1.5, 2.0, 2.5, 3.5), _contrast),
    "resolution": Perturbation(
        "voxels left along an axis, of 1", (0.8, 0.65, 0.5, 0.35, 0.25), _resolution
    ),
    "spikes": Perturbation(
        "amplitude of each of 3 stripes, in ranges", (0.02, 0.05, 0.1, 0.15, 0.25), _spikes
    ),
    "jpeg": Perturbation("JPEG quality of each slice", (50.0, 25.0, 12.0, 6.0, 2.0), _jpeg),
}

"""Whether an image is like those that a model was trained on.

The prepared image, which is what the network sees, becomes a short list of numbers; the distance is
that of Mahalanobis from the training images (Lee et al., NeurIPS 2018), under the covariance of
probabilistic principal components (Tipping and Bishop, J. R. Stat. Soc. B 61, 1999): their own
variance along the first components, one common variance along all others. So what no training image
varies in (stripes, noise) counts, and few training images are enough.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import ConfigError, InputError
from wetread.files import write_atomically
from wetread.results import InputCheck

FILE = "models/gate.json"
# One in fifty images like those of the validation is called unlike, where there are enough.
FLAGGED_SHARE = 0.02
COMPONENTS = 20
# Fewer images than this say nothing about a spread.
FEWEST_IMAGES = 20
Vector = NDArray[np.float64]
Image = NDArray[np.float32]
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_GRADIENT_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_BANDS = 8
# Below it a number that does not vary among the training images, such as a fixed size, is no scale.
_SMALL = 1e-6


def describe(prepared: Image, spatial_dims: int) -> Vector:
    """One row of numbers for each image that the network sees: (image, number).

    `prepared` is (channel, …) with three spatial axes, the first of them the slice. A network of 3
    spatial dimensions sees it whole, one of 2 each slice by itself. Channels are averaged.

    The numbers are quantiles of the intensity and of its gradient, the share above the middle of
    the range, the spectrum by bands, the average of coarse blocks, and the size.
    Raises InputError for an image with an axis of less than 4 voxels.
    """
    image = np.asarray(prepared, np.float64).mean(axis=0)
    parts = [image] if spatial_dims == 3 else list(image)
    if min(parts[0].shape) < 4:
        raise InputError(
            f"the prepared image has the shape {parts[0].shape}, a gate needs 4 voxels an axis",
            hint="check how the series was cropped",
        )
    return np.stack([_described(part) for part in parts])


def _described(image: Vector) -> Vector:
    low, high = np.quantile(image, (0.01, 0.99))
    return np.concatenate(
        [
            np.quantile(image, _QUANTILES),
            [float((image > (low + high) / 2).mean())],
            _edges(image),
            _spectrum(image),
            _blocks(image, 8 if image.ndim == 2 else 4),
            np.log2(image.shape),
        ]
    )


def _edges(image: Vector) -> Vector:
    """The logarithms of quantiles of the gradient's length, per voxel.

    Below a hundredth of the spread it counts as flat, or a black edge would look like nothing else.
    """
    steps = np.sqrt(sum(step**2 for step in np.gradient(image)))
    found: Vector = np.log(np.quantile(steps, _GRADIENT_QUANTILES) + image.std() / 100 + _SMALL)
    return found


def _spectrum(image: Vector) -> Vector:
    """The logarithm of the energy in each ring of spatial frequency, 0 to 0.5 cycles a voxel."""
    window = np.ones(())
    for length in image.shape:
        window = np.multiply.outer(window, np.hanning(length + 2)[1:-1])
    energy = np.abs(np.fft.rfftn((image - image.mean()) * window)) ** 2 / image.size
    axes = [np.fft.fftfreq(length) for length in image.shape[:-1]]
    axes.append(np.fft.rfftfreq(image.shape[-1]))
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    ring = np.minimum((radius / 0.5 * _BANDS).astype(int), _BANDS - 1).ravel()
    counts = np.maximum(np.bincount(ring, minlength=_BANDS), 1)
    return np.log(np.bincount(ring, energy.ravel(), minlength=_BANDS) / counts + _SMALL)


def _blocks(image: Vector, count: int) -> Vector:
    """The mean of `count` blocks along each axis."""
    for axis, length in enumerate(image.shape):
        edges = np.linspace(0, length, count + 1).round().astype(int)
        # Where there are fewer voxels than blocks, neighbours share one.
        firsts = [min(edge, length - 1) for edge in edges]
        blocks = [
            image.take(range(first, max(stop, first + 1)), axis).mean(axis, keepdims=True)
            for first, stop in zip(firsts, edges[1:], strict=False)
        ]
        image = np.concatenate(blocks, axis)
    return image.ravel()


@dataclass(frozen=True, slots=True)
class Gate:
    """What the training images of one model look like, and how far another may lie from them.

    `components` is (component, number), `variances` one for each; `other_variance` is that of every
    direction besides. All are of the numbers less `mean`, divided by `scale`.
    """

    spatial_dims: int
    mean: Vector
    scale: Vector
    components: Vector
    variances: Vector
    other_variance: float
    limit: float
    train_images: int
    val_cases: int

    def distance(self, described: Vector) -> float:
        """The distance of one case from the training images, the median over its rows."""
        numbers = (described - self.mean) / self.scale
        along = numbers @ self.components.T
        rest = np.maximum((numbers**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + rest / self.other_variance
        return float(np.median(np.sqrt(squared)))

    def judge(self, prepared: Image) -> InputCheck:
        """Whether a prepared image, (channel, …), is like the training images; see `describe`."""
        return InputCheck(self.distance(describe(prepared, self.spatial_dims)), self.limit)


def fit_gate(train: Sequence[Vector], val: Sequence[Vector], spatial_dims: int) -> Gate:
    """The gate of a model from what `describe` says of its training and validation cases.

    The limit is the distance of that validation case below which 98 % of new ones lie (split
    conformal prediction, Vovk et al. 2005: the ⌈0.98 (n + 1)⌉-th of n), so that at most 2 % of new
    cases like them are called unlike; with fewer than 49 cases it is the largest distance, and the
    share 1 / (n + 1).
    Raises InputError if fewer than 20 images of either are given.
    """
    _check_count("training images", sum(map(len, train)))
    _check_count("validation cases", len(val))
    rows = np.concatenate(train)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(deviation > _SMALL, deviation, 1.0)
    _, singular, directions = np.linalg.svd((rows - mean) / scale, full_matrices=False)
    # The last one is 0 where there are fewer images than numbers: the mean was taken off.
    variances = singular**2 / (len(rows) - 1)
    kept = min(COMPONENTS, len(variances) - 2)
    gate = Gate(
        spatial_dims=spatial_dims,
        mean=_rounded(mean),
        scale=_rounded(scale),
        components=_rounded(directions[:kept]),
        variances=_rounded(variances[:kept]),
        other_variance=float(variances[kept:].sum() / (rows.shape[1] - kept)),
        limit=0.0,
        train_images=len(rows),
        val_cases=len(val),
    )
    distances = sorted(gate.distance(each) for each in val)
    place = min(len(val), int(np.ceil((1 - FLAGGED_SHARE) * (len(val) + 1))))
    return replace(gate, limit=distances[place - 1])


def _check_count(what: str, count: int) -> None:
    if count < FEWEST_IMAGES:
        raise InputError(
            f"{count} {what}, a gate needs at least {FEWEST_IMAGES}",
            hint="give the data that the model was trained on, with its splits",
        )


def _rounded(numbers: Vector) -> Vector:
    """To six significant digits, as they are written: a gate that is read again is the same."""
    return np.array([float(f"{each:.6g}") for each in numbers.ravel()]).reshape(numbers.shape)


def save_gate(gate: Gate, bundle: Path) -> Path:
    """Write the gate as `models/gate.json` of the bundle, and say where that is."""
    path = bundle / FILE
    content = {key.name: _plain(getattr(gate, key.name)) for key in fields(gate)}
    write_atomically(path, [json.dumps(content).encode()])
    return path


def _plain(value: Vector | float) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def load_gate(bundle: Path) -> Gate | None:
    """The gate of a bundle, or None if it has none.

    Raises ConfigError if the file is no gate, or one of another version of `describe`.
    """
    path = bundle / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        gate = Gate(**{key.name: _parsed(content[key.name]) for key in fields(Gate)})
        _check_shapes(gate)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no gate: {error!r}", hint="make it again: wetread bundle gate"
        ) from error
    return gate


def _parsed(value: Any) -> Any:
    return np.array(value, np.float64) if isinstance(value, list) else value


def _check_shapes(gate: Gate) -> None:
    wanted = describe(np.zeros((1, 8, 8, 8), np.float32), gate.spatial_dims).shape[1]
    shapes = (gate.mean.shape, gate.scale.shape, gate.components.shape)
    if shapes != ((wanted,), (wanted,), (len(gate.variances), wanted)):
        raise ValueError(f"its lists have the shapes {shapes}, an image has {wanted} numbers")

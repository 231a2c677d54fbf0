"""An input for a network that is always the same: what ways of running it are compared on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wetread.infer.description import NetworkSpec


def fixed_input(spec: NetworkSpec, lengths: tuple[int, int]) -> NDArray[np.float32]:
    """A bright ball in noise: something that a network has an opinion on.

    `lengths` are those of a batch axis and of any other axis that `spec` leaves open.
    """
    shape = [size if size >= 0 else lengths[axis > 0] for axis, size in enumerate(spec.input.shape)]
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[2:]), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    ball = np.clip(1.2 - radius, 0, 1) + 0.05 * np.random.default_rng(7).standard_normal(shape)
    return ball.astype(np.float32)

"""What runs one network: the Predictor protocol, a predictor for tests, and whom progress tells."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[str, float], None]
"""Told the step and the share of it that is done; an error that it raises ends the work."""


Alive = Callable[[], None]
"""Called now and then while a network computes; an error that it raises ends the forward."""


def no_progress(stage: str, fraction: float) -> None:
    """Tell nobody."""


def is_alive() -> None:
    """Nobody wants to cancel."""


class Predictor(Protocol):
    """One network, ready to run. May be called from several threads."""

    @property
    def weights_sha256(self) -> str:
        """Of the file with its weights, in hexadecimal."""
        ...

    @property
    def batch_hint(self) -> int:
        """How many images at once it computes best; any number is right."""
        ...

    def predict(self, batch: NDArray[np.float32], alive: Alive = is_alive) -> NDArray[np.float32]:
        """The network's output for `batch`: (batch, channel, …) → (batch, channel, …), float32.

        Raises what `alive` raises, ModelContractError if a shape or dtype is not what the network
        takes, and InferenceUnavailableError if it cannot be reached or has no room just now.
        """
        ...

    def close(self) -> None:
        """Give back what the network holds; calling it twice does no harm."""
        ...


PredictorFactory = Callable[[str], Predictor]
"""From a network's name, as in `triton_models/`, to its predictor."""


class FakePredictor:
    """A network of no weights: channel 1 is 1 where the input is above a threshold, channel 0 else.

    The threshold is the middle between the smallest and the largest value of the batch, if none is
    given; a constant batch has nothing above it. Stands for any network of `channels` outputs
    (further ones stay 0); `shapes` records what it was asked. `FakePredictor` itself is a
    PredictorFactory.
    """

    def __init__(
        self, network: str = "fake", *, threshold: float | None = None, channels: int = 2
    ) -> None:
        self.network = network
        self.threshold = threshold
        self.channels = channels
        self.shapes: list[tuple[int, ...]] = []
        self.closed = False

    @property
    def weights_sha256(self) -> str:
        """Of nothing."""
        return hashlib.sha256(b"").hexdigest()

    @property
    def batch_hint(self) -> int:
        """One at a time."""
        return 1

    def predict(self, batch: NDArray[np.float32], alive: Alive = is_alive) -> NDArray[np.float32]:
        """(batch, channel, …) → (batch, channels, …); only the first input channel counts."""
        alive()
        self.shapes.append(batch.shape)
        above = batch[:, 0] > self._threshold_for(batch)
        output = np.zeros((batch.shape[0], self.channels, *batch.shape[2:]), np.float32)
        output[:, 0] = ~above
        output[:, 1] = above
        return output

    def _threshold_for(self, batch: NDArray[np.float32]) -> float:
        if self.threshold is not None:
            return self.threshold
        return (float(batch.min()) + float(batch.max())) / 2

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

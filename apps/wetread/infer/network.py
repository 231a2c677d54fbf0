"""A predictor in the place of a bundle's network."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import SlidingWindowInferer
from monai.utils import ensure_tuple_rep, fall_back_tuple

from wetread import metrics
from wetread.bundle_components.classification import SliceInferer
from wetread.errors import ModelContractError
from wetread.infer.base import Predictor, Progress, no_progress


class _Reading(threading.local):
    """One thread's reading: how far it is, and whom to tell."""

    def __init__(self) -> None:
        self.begin(no_progress)

    def begin(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds = 0.0
        self.calls = 0
        self.expected = 1

    @property
    def share(self) -> float:
        return min(1.0, self.calls / self.expected)


class PredictorNetwork(torch.nn.Module):
    """A predictor as a network that a bundle calls.

    The main one tells how far the forward is; another runs within the preprocessing, of which
    nothing is known to be done, so it only gives a chance to cancel. Metrics call it by the `name`
    of its network and that of its `model`.
    """

    def __init__(
        self, predictor: Predictor, *, is_main: bool, model: str = "", name: str = ""
    ) -> None:
        super().__init__()
        self._seconds = metrics.FORWARD_SECONDS.labels(model, name)
        self._images = metrics.FORWARD_IMAGES.labels(model, name)
        self._is_main = is_main
        self.predictor = predictor
        self._reading = _Reading()

    def begin(self, progress: Progress) -> None:
        """Before a reading: whom to tell, and nothing done yet."""
        self._reading.begin(progress)

    def expect(self, calls: int) -> None:
        """How many windows or slices there will be."""
        self._reading.expected = calls

    @property
    def seconds(self) -> float:
        """What the predictor took in this reading."""
        return self._reading.seconds

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """As the predictor. Raises ModelContractError for an answer that is no number."""
        array = np.ascontiguousarray(torch.as_tensor(batch).numpy(), np.float32)
        self._report()
        started = time.perf_counter()
        output = self.predictor.predict(array, self._report)
        seconds = time.perf_counter() - started
        self._reading.seconds += seconds
        self._seconds.observe(seconds)
        self._images.inc(batch.shape[0])
        if not np.isfinite(output).all():
            raise ModelContractError(
                "the network's answer has NaN or infinite values",
                hint="check the model with wetread models check; build it in float32",
                stage="forward",
            )
        self._reading.calls += batch.shape[0]
        self._report()
        return torch.from_numpy(output)

    def _report(self) -> None:
        if self._is_main:
            self._reading.progress("forward", self._reading.share)
        else:
            self._reading.progress("preprocess", 0.0)


def fill_batches(inferer: Any, predictor: Predictor) -> None:
    """Let the inferer ask as many windows or slices at once as the predictor computes best."""
    if isinstance(inferer, SliceInferer | SlidingWindowInferer):
        inferer.sw_batch_size = max(inferer.sw_batch_size, predictor.batch_hint)


def windows(inferer: Any, shape: torch.Size) -> int:
    """How many windows or slices the inferer will ask for on an image of `shape`."""
    if isinstance(inferer, SliceInferer):
        return int(shape[0])
    if not isinstance(inferer, SlidingWindowInferer):
        return 1
    wanted = fall_back_tuple(inferer.roi_size, shape)
    roi = [min(int(size), limit) for size, limit in zip(wanted, shape, strict=True)]
    overlaps = ensure_tuple_rep(inferer.overlap, len(shape))
    steps = [
        max(1, int(size * (1 - float(overlap))))
        for size, overlap in zip(roi, overlaps, strict=True)
    ]
    return len(dense_patch_slices(tuple(shape), roi, steps))

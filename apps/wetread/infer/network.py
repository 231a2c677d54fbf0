"""A predictor in the place of a bundle's network."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import SlidingWindowInferer
from monai.utils import ensure_tuple_rep, fall_back_tuple

from wetread.bundle_components.classification import SliceInferer
from wetread.errors import ModelContractError
from wetread.infer.base import Predictor, Progress, no_progress


class PredictorNetwork(torch.nn.Module):
    """A predictor as a network that a bundle calls.

    The main one tells how far the forward is; another runs within the preprocessing, of which
    nothing is known to be done, so it only gives a chance to cancel.
    """

    def __init__(self, predictor: Predictor, *, is_main: bool) -> None:
        super().__init__()
        self._is_main = is_main
        self._predictor = predictor
        self._progress: Progress = no_progress
        self.seconds = 0.0
        self._calls = 0
        self._expected = 1

    def begin(self, progress: Progress) -> None:
        """Before a reading: whom to tell, and nothing done yet."""
        self._progress = progress
        self.seconds = 0.0
        self._calls = 0
        self._expected = 1

    def expect(self, calls: int) -> None:
        """How many windows or slices there will be."""
        self._expected = calls

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """As the predictor. Raises ModelContractError for an answer that is no number."""
        array = np.ascontiguousarray(torch.as_tensor(batch).numpy(), np.float32)
        self._report()
        started = time.perf_counter()
        output = self._predictor.predict(array)
        self.seconds += time.perf_counter() - started
        if not np.isfinite(output).all():
            raise ModelContractError(
                "the network's answer has NaN or infinite values",
                hint="check the model with wetread models check; build it in float32",
                stage="forward",
            )
        self._calls += batch.shape[0]
        self._report()
        return torch.from_numpy(output)

    def _report(self) -> None:
        if self._is_main:
            self._progress("forward", min(1.0, self._calls / self._expected))
        else:
            self._progress("preprocess", 0.0)


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

"""What training a classifier wants besides MONAI's own handlers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from wetread.bundle_components.classification import calibrate
from wetread.bundle_components.transforms import plain

# Weights of more values than this are kept in half precision: files of half the size, and answers
# that differ in the fourth digit. Small tensors, such as running variances, stay as they are.
_LARGE = 4096


class CalibrationSaver:
    """When training ends: keep the best weights in half the size, and calibrate them.

    A handler for the trainer. `loader` gives `image` (batch, channel, row, column) and `label`;
    `folder` has the `model.pt` of the best epoch, and gets `calibration.json`.
    """

    def __init__(
        self, network: torch.nn.Module, loader: Any, folder: str, classes: Sequence[str]
    ) -> None:
        self.network = network
        self.loader = loader
        self.folder = Path(folder)
        self.classes = classes

    def attach(self, engine: Engine) -> None:
        """As MONAI's engines attach their handlers."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, _engine: Engine) -> None:
        weights = self.folder / "model.pt"
        state = torch.load(weights, map_location="cpu", weights_only=True)
        small = {name: _small(value) for name, value in state.items()}
        torch.save(small, weights)
        self.network.load_state_dict(small)
        found = calibrate(*self._answers(), self.classes)
        path = self.folder / "calibration.json"
        path.write_text(json.dumps(found, indent=4) + "\n", encoding="utf-8")

    def _answers(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The network's (case, class) logits for every case of the loader, and the labels."""
        self.network.eval()
        device = next(self.network.parameters()).device
        logits, labels = [], []
        with torch.no_grad():
            for batch in self.loader:
                found = self.network(plain(batch["image"]).to(device))
                logits.append(found.float().cpu().numpy())
                labels.append(np.asarray(batch["label"]))
        return np.concatenate(logits), np.concatenate(labels).astype(np.int64)


def _small(value: torch.Tensor) -> torch.Tensor:
    is_large = value.is_floating_point() and value.numel() > _LARGE
    return value.half() if is_large else value

"""What a bundle's networks see of real cases: every batch that a reading hands to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from wetread.config import EmbeddedModel
from wetread.infer.base import Alive, Predictor, Progress, is_alive, no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.embedded import EmbeddedPredictor
from wetread.infer.files import volume_from_nifti
from wetread.models.classification import volume_of_case
from wetread.models.evaluation import cases_of

# So many cases, evenly chosen, and of each network no more of what it sees.
MOST_CASES = 32
MOST_BYTES = 512 << 20


class _Recorder:
    """A predictor that keeps what it is asked."""

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner
        self._bytes = 0
        self.batches: list[NDArray[np.float32]] = []

    @property
    def weights_sha256(self) -> str:
        return self._inner.weights_sha256

    @property
    def batch_hint(self) -> int:
        return 1

    def predict(self, batch: NDArray[np.float32], alive: Alive = is_alive) -> NDArray[np.float32]:
        self._bytes += batch.nbytes
        if self._bytes <= MOST_BYTES or not self.batches:
            self.batches.append(batch.copy())
        return self._inner.predict(batch, alive)

    def close(self) -> None:
        self._inner.close()


def batches_of(
    bundle: Path, repository: Path, data: Path, split: str, progress: Progress
) -> Mapping[str, Sequence[NDArray[np.float32]]]:
    """By network, what it is handed when up to 32 cases of a split of `data` are read.

    It is read as the gateway reads it, so the images are prepared, cut into windows and located as
    they will be. Raises InputError for data that cannot be read, and as `BundleModel.read`.
    """
    recorders: dict[str, _Recorder] = {}

    def recorded(network: str) -> Predictor:
        recorders[network] = _Recorder(EmbeddedPredictor(network, repository))
        return recorders[network]

    with closing(open_model(bundle.name, EmbeddedModel(bundle=bundle), repository, recorded)) as it:
        paths = [Path(case["image"]) for case in cases_of(it, data, split)]
        chosen = paths[:: -(-len(paths) // MOST_CASES)]
        for number, path in enumerate(chosen):
            progress(f"read {split}", number / len(chosen))
            it.read(_volume(it, path), no_progress)
    return {network: recorder.batches for network, recorder in recorders.items()}


def _volume(model: BundleModel, path: Path) -> highdicom.Volume:
    return volume_of_case(model, path) if model.description.classes else volume_from_nifti(path)

"""From the settings of a model to the predictors of its networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from wetread.config import ModelConfig, TritonModel
from wetread.infer.base import Predictor, PredictorFactory
from wetread.infer.description import NetworkSpec
from wetread.infer.embedded import EmbeddedPredictor

# One reading in this process uses every core; a second would only double the memory.
_EMBEDDED_READINGS = 1


def open_predictors(
    config: ModelConfig,
    networks: Mapping[str, NetworkSpec],
    repository: Path,
    factory: PredictorFactory | None,
) -> dict[str, Predictor]:
    """Of every network, by name: from `factory`, else as `config` says.

    Raises InferenceError for a network that is not there, InferenceUnavailableError if its servers
    are not.
    """
    if factory is not None:
        return {name: factory(name) for name in networks}
    if isinstance(config, TritonModel):
        # tritonclient is for those who use it.
        from wetread.infer.triton import open_triton

        return dict(open_triton(config, networks))
    return {
        name: EmbeddedPredictor(
            name, repository, threads=config.threads, timeout_seconds=config.timeout_seconds
        )
        for name in networks
    }


def readings_at_once(config: ModelConfig) -> int:
    """How many volumes one model may read at the same time."""
    return config.max_in_flight if isinstance(config, TritonModel) else _EMBEDDED_READINGS


def weights_sha256(predictors: Mapping[str, Predictor], calibration: Path) -> str:
    """One hash over the weights of all networks, by name, and the calibration if there is one."""
    hashes = {name: predictor.weights_sha256 for name, predictor in predictors.items()}
    return combined_sha256(hashes, calibration)


def combined_sha256(weights: Mapping[str, str], calibration: Path) -> str:
    """The same, from the hash of each network's file."""
    digest = hashlib.sha256()
    for _, sha256 in sorted(weights.items()):
        digest.update(bytes.fromhex(sha256))
    if calibration.is_file():
        digest.update(hashlib.sha256(calibration.read_bytes()).digest())
    return digest.hexdigest()

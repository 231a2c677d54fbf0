"""A MONAI bundle as a reader of volumes: its own pre- and post-processing around predictors.

Only the network call differs between the ways of running: `open_model` takes a factory that gives a
predictor for each network the bundle names in `configs/export.json`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.data.utils import dense_patch_slices
from monai.inferers import SlidingWindowInferer
from monai.utils import ensure_tuple_rep, fall_back_tuple
from numpy.typing import NDArray

from wetread.bundle_components.transforms import NoContrastError, NothingFoundError
from wetread.config import EmbeddedModel, ModelConfig
from wetread.errors import ConfigError, InputError, ModelContractError, WetreadError
from wetread.infer.base import Predictor, PredictorFactory, Progress
from wetread.infer.description import (
    Description,
    bundle_version,
    load_description,
    load_networks,
)
from wetread.infer.embedded import EmbeddedPredictor, newest_version
from wetread.results import ModelIdentity, SegmentationResult
from wetread.study import Series

# Patient x and y point the other way in RAS than in LPS (PS3.3 C.7.6.2.1.1).
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# The network of `inferer`; the others of a bundle serve its preprocessing.
_MAIN = "network_def"
# What a bundle does for itself when MONAI runs it alone, and wetread does around it.
_NOT_OURS = {"LoadImaged", "EnsureChannelFirstd", "SaveImaged"}


def open_model(
    name: str,
    config: ModelConfig,
    repository: Path,
    predictor_factory: PredictorFactory | None = None,
) -> BundleModel:
    """The bundle of `config` with its networks from `repository`, ready to read.

    Raises ConfigError for a bundle that is not well formed, InferenceError for a missing network.
    """
    networks = load_networks(config.bundle)
    if predictor_factory is not None:
        predictors = {network: predictor_factory(network) for network in networks}
        weights = hashlib.sha256(b"").hexdigest()
    elif isinstance(config, EmbeddedModel):
        predictors = {
            network: EmbeddedPredictor(
                network,
                repository,
                threads=config.threads,
                timeout_seconds=config.timeout_seconds,
            )
            for network in networks
        }
        weights = weights_sha256(newest_version(repository, network) for network in networks)
    else:
        raise ConfigError(
            f"model {name}: backend {config.backend!r} is not available",
            hint='use backend = "embedded"',
        )
    identity = ModelIdentity(name, bundle_version(config.bundle), weights)
    return BundleModel(identity, config.bundle, predictors)


def weights_sha256(files: Iterator[Path]) -> str:
    """One hash over several files, in the order of their paths."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


class BundleModel:
    """A configured bundle. Threads that share one take turns: one reading uses every core."""

    def __init__(
        self, identity: ModelIdentity, bundle: Path, predictors: Mapping[str, Predictor]
    ) -> None:
        self.name = identity.name
        self.identity = identity
        self.description: Description = load_description(bundle)
        self._predictors = predictors
        self._turn = threading.Lock()
        networks = load_networks(bundle)
        self._networks = {
            networks[name].config_id: _PredictorNetwork(predictor, networks[name].config_id)
            for name, predictor in predictors.items()
        }
        parser = _parsed(bundle, self._networks)
        self._preprocess = _content(parser, bundle, "preprocessing")
        self._infer = _content(parser, bundle, "inferer")
        self._postprocess = _content(parser, bundle, "postprocessing")
        self._main = self._networks[_MAIN]

    def accepts(self, series: Series) -> None:
        """Raise UnsupportedSeriesError, with what is wanted and what came, unless it fits."""
        self.description.accepts.check(self.name, series)

    def read(self, volume: highdicom.Volume, progress: Progress) -> SegmentationResult:
        """Segment a volume (slice, row, column); the labelmap lies on the volume's own grid.

        `progress` is told the steps "preprocess", "forward" and "postprocess" with the share that
        is done; what it raises ends the reading. Nothing located is an empty mask.

        Raises InputError for a volume without contrast or with values that are no numbers,
        ModelContractError if a network or the bundle breaks its contract,
        InferenceUnavailableError if a network has no room.
        """
        with self._turn:
            return self._read(volume, progress)

    def _read(self, volume: highdicom.Volume, progress: Progress) -> SegmentationResult:
        self._check_values(volume)
        for network in self._networks.values():
            network.begin(progress)
        seconds: dict[str, float] = {}
        try:
            labelmap = self._labelmap(volume, progress, seconds)
        except NothingFoundError:
            labelmap = self._typed(np.zeros(volume.array.shape[:3], np.uint8))
        except NoContrastError as error:
            raise InputError(
                f"{self.name}: {error}", hint="check the series in a viewer", stage="preprocess"
            ) from error
        return SegmentationResult(
            labelmap, self.description.segments, self.identity, self._split(seconds)
        )

    def _check_values(self, volume: highdicom.Volume) -> None:
        bad = volume.array.size - int(np.isfinite(volume.array).sum())
        if bad:
            raise InputError(
                f"{self.name}: {bad} voxels are NaN or infinite",
                hint="check how the volume was made",
                stage="preprocess",
            )

    def _split(self, seconds: Mapping[str, float]) -> Mapping[str, float]:
        """Seconds by step; what a locator takes within the pre-processing is forward time."""
        forward = sum(network.seconds for network in self._networks.values())
        early = forward - self._main.seconds
        return {
            "preprocess": seconds.get("preprocess", early) - early,
            "forward": forward,
            "postprocess": seconds.get("postprocess", 0.0),
        }

    def _labelmap(
        self, volume: highdicom.Volume, progress: Progress, seconds: dict[str, float]
    ) -> NDArray[np.unsignedinteger]:
        progress("preprocess", 0.0)
        started = time.perf_counter()
        data = self._apply(self._preprocess, {"image": as_ras_image(volume)})
        seconds["preprocess"] = time.perf_counter() - started
        progress("preprocess", 1.0)
        self._main.expect(_windows(self._infer, data["image"].shape[1:]))
        with torch.inference_mode():
            output = self._apply(lambda image: self._infer(image, self._main), data["image"][None])
        progress("postprocess", 0.0)
        started = time.perf_counter()
        data["pred"] = MetaTensor(output[0], meta=data["image"].meta)
        found = self._apply(self._postprocess, data)["pred"]
        labelmap = self._checked(np.asarray(found)[0], volume.array.shape[:3])
        seconds["postprocess"] = time.perf_counter() - started
        progress("postprocess", 1.0)
        return labelmap

    def _apply(self, step: Callable[[Any], Any], data: Any) -> Any:
        """Run a step of the bundle; MONAI wraps what goes wrong inside, this gives it back."""
        try:
            return step(data)
        except (RuntimeError, ValueError) as error:
            for cause in causes_of(error):
                if isinstance(cause, WetreadError | NoContrastError | NothingFoundError):
                    raise cause from cause.__cause__
            raise ModelContractError(
                f"{self.name}: the bundle's processing failed: {causes_of(error)[-1]}",
                hint="try the bundle by itself: wetread models check",
                stage="infer",
            ) from error

    def _checked(self, labels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.unsignedinteger]:
        if labels.shape != shape:
            raise ModelContractError(
                f"{self.name}: the mask has shape {labels.shape}, the volume {shape}",
                hint="the bundle's postprocessing must undo its preprocessing (Invertd)",
            )
        known = self._known_values()
        found = {float(value) for value in np.unique(labels)}
        if not found <= known:
            raise ModelContractError(
                f"{self.name}: the mask has the values {sorted(found - known)}, "
                f"dicom.json declares {sorted(known)}",
                hint="the bundle's dicom.json and its postprocessing must agree",
            )
        return self._typed(labels)

    def _known_values(self) -> set[int]:
        return {0, *(segment.label_value for segment in self.description.segments)}

    def _typed(self, labels: NDArray[Any]) -> NDArray[np.unsignedinteger]:
        return labels.astype(np.uint8 if max(self._known_values()) < 256 else np.uint16)

    def close(self) -> None:
        """Give back what the networks hold."""
        for predictor in self._predictors.values():
            predictor.close()


def as_ras_image(volume: highdicom.Volume) -> MetaTensor:
    """A volume in LPS as MONAI wants it: (channel, slice, row, column) with an affine to RAS mm.

    The one place where LPS becomes RAS; the axes stay as they are.
    """
    array = np.ascontiguousarray(volume.array, np.float32)
    affine = torch.from_numpy(_LPS_TO_RAS @ np.asarray(volume.affine, np.float64))
    # The transforms may write in place; the volume is the caller's.
    return MetaTensor(torch.from_numpy(array[None].copy()), affine=affine)


class _PredictorNetwork(torch.nn.Module):
    """A predictor as a network that a bundle calls.

    The main one tells how far the forward is; another runs within the preprocessing, of which
    nothing is known to be done, so it only gives a chance to cancel.
    """

    def __init__(self, predictor: Predictor, config_id: str) -> None:
        super().__init__()
        self._is_main = config_id == _MAIN
        self._predictor = predictor
        self._progress: Progress = lambda _step, _fraction: None
        self.seconds = 0.0
        self._calls = 0
        self._expected = 1

    def begin(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds = 0.0
        self._calls = 0
        self._expected = 1

    def expect(self, calls: int) -> None:
        self._expected = calls

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
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


def _windows(inferer: Any, shape: torch.Size) -> int:
    """How many windows the inferer will ask for on an image of `shape`."""
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


def causes_of(error: BaseException) -> list[BaseException]:
    """The error, what caused it, and so on to the first: MONAI wraps whatever goes wrong inside."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _parsed(bundle: Path, networks: Mapping[str, torch.nn.Module]) -> ConfigParser:
    parser = ConfigParser()
    path = bundle / "configs/inference.json"
    try:
        parser.read_config(str(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}", hint="is this the folder of a bundle?") from error
    parser["bundle_root"] = str(bundle)
    for config_id, network in networks.items():
        if config_id not in parser.get():
            raise ConfigError(
                f"{path} has no {config_id!r}, which export.json names",
                hint="config_id in export.json is a key of inference.json",
            )
        parser[config_id] = network
    if _MAIN not in networks:
        raise ConfigError(
            f"{path.with_name('export.json')}: no network has the config_id {_MAIN!r}",
            hint="it is the network that the inferer of inference.json calls",
        )
    for steps in ("preprocessing", "postprocessing"):
        place = f"{steps}::transforms"
        if place not in parser:
            raise ConfigError(f"{path} has no {place}", hint="see bundles/README.md")
        parser[place] = [each for each in parser[place] if _target(each) not in _NOT_OURS]
    return parser


def _target(transform: Any) -> str:
    named = isinstance(transform, dict)
    return str(transform.get("_target_", "")).rpartition(".")[2] if named else ""


def _content(parser: ConfigParser, bundle: Path, config_id: str) -> Any:
    try:
        return parser.get_parsed_content(config_id)
    except (RuntimeError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise ConfigError(
            f"{bundle / 'configs/inference.json'}: {config_id}: {causes_of(error)[-1]}",
            hint="try it with MONAI alone: python -m monai.bundle run",
        ) from error

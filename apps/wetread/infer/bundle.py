"""A MONAI bundle as a reader of volumes: its own pre- and post-processing around predictors.

Only the network call differs between the ways of running: `open_model` takes a factory that gives a
predictor for each network the bundle names in `configs/export.json`.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from numpy.typing import NDArray

from wetread.bundle_components.classification import NotCalibratedError, read_calibration
from wetread.bundle_components.transforms import NoContrastError, NothingFoundError
from wetread.config import ModelConfig
from wetread.errors import ConfigError, InputError, ModelContractError, WetreadError
from wetread.infer.answers import empty_labelmap, findings_of, labelmap_of
from wetread.infer.base import Predictor, PredictorFactory, Progress, no_progress
from wetread.infer.description import (
    MAIN_NETWORK,
    Description,
    bundle_version,
    load_description,
    load_networks,
)
from wetread.infer.gate import load_gate
from wetread.infer.network import PredictorNetwork, fill_batches, windows
from wetread.infer.predictors import open_predictors, readings_at_once, weights_sha256
from wetread.results import FindingsResult, InputCheck, ModelIdentity, SegmentationResult
from wetread.study import Series

# Patient x and y point the other way in RAS than in LPS (PS3.3 C.7.6.2.1.1).
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Where training keeps what turns a classifier's logits into probabilities.
CALIBRATION = "models/calibration.json"
_VALUE_RANGE = "value_range"
_MODALITIES = "modalities"
# What a bundle does for itself when MONAI runs it alone, and wetread does around it.
_NOT_OURS = {"LoadImaged", "LoadPictured", "LoadSubjectd", "EnsureChannelFirstd", "SaveImaged"}


def open_model(
    name: str,
    config: ModelConfig,
    repository: Path,
    predictor_factory: PredictorFactory | None = None,
) -> BundleModel:
    """The bundle of `config` with its networks from `repository`, ready to read.

    Raises ConfigError for a bundle that is not well formed, InferenceError for a missing network,
    InferenceUnavailableError if a server that should have it does not answer.
    """
    networks = load_networks(config.bundle)
    predictors = open_predictors(config, networks, repository, predictor_factory)
    weights = weights_sha256(predictors, config.bundle / CALIBRATION)
    identity = ModelIdentity(name, bundle_version(config.bundle), weights)
    at_once = readings_at_once(config)
    return BundleModel(identity, config.bundle, predictors, at_once, config.max_voxels)


class BundleModel:
    """A configured bundle. Threads may share one: `at_once` of them read, the others wait."""

    def __init__(
        self,
        identity: ModelIdentity,
        bundle: Path,
        predictors: Mapping[str, Predictor],
        at_once: int = 1,
        max_voxels: int | None = None,
    ) -> None:
        self.name = identity.name
        self.identity = identity
        self.bundle = bundle
        self.max_voxels = max_voxels
        self.description: Description = load_description(bundle)
        self._predictors = predictors
        self._turn = threading.BoundedSemaphore(at_once)
        networks = load_networks(bundle)
        self._networks = {
            networks[name].config_id: PredictorNetwork(
                predictor,
                is_main=networks[name].config_id == MAIN_NETWORK,
                model=identity.name,
                name=name,
            )
            for name, predictor in predictors.items()
        }
        parser = _parsed(bundle, self._networks)
        self._preprocess = _content(parser, bundle, "preprocessing")
        self._infer = _content(parser, bundle, "inferer")
        self._postprocess = _content(parser, bundle, "postprocessing")
        self._main = self._networks[MAIN_NETWORK]
        fill_batches(self._infer, self._main.predictor)
        self._gate = load_gate(bundle)
        # Black and white of a picture that is no DICOM.
        self.value_range: tuple[float, float] = tuple(parser.get(_VALUE_RANGE, (0.0, 255.0)))
        # The files of a subject's folder, one a channel, for a bundle that reads several.
        self.modalities: tuple[str, ...] = tuple(parser.get(_MODALITIES, ()))
        self.operating_points = operating_points_of(bundle, self.description)

    def accepts(self, series: Series) -> None:
        """Raise UnsupportedSeriesError, with what is wanted and what came, unless it fits."""
        self.description.accepts.check(self.name, series)

    def read(
        self, volume: highdicom.Volume, progress: Progress
    ) -> SegmentationResult | FindingsResult:
        """Read a volume (slice, row, column): a labelmap on its own grid, or findings.

        One of several modalities has a fourth axis, in the order of `modalities`.

        `progress` is told the steps "preprocess", "forward" and "postprocess" with the share that
        is done; what it raises ends the reading. Nothing located is an empty mask.

        Raises InputError for a volume without contrast or with values that are no numbers,
        ModelContractError if a network or the bundle breaks its contract,
        InferenceUnavailableError if a network has no room.
        """
        with self._turn:
            self._begin(volume, progress)
            return self._read(volume, progress)

    def prepare(self, volume: highdicom.Volume) -> MetaTensor:
        """What the network sees of a volume: (channel, …), after the bundle's preprocessing.

        Raises as `read`, and InputError if the region that the bundle looks for is not there.
        """
        with self._turn:
            self._begin(volume, no_progress)
            try:
                return self._prepared(volume)["image"]
            except NothingFoundError as error:
                raise self._unfit(error) from error

    def restore(self, values: NDArray[np.float32], prepared: MetaTensor) -> NDArray[np.float32]:
        """A map of the spatial shape of `prepared`, on the grid (slice, row, column) of its volume.

        Raises ModelContractError if the preprocessing cannot be undone.
        """
        one = torch.from_numpy(np.ascontiguousarray(values, np.float32)[None])
        operations = copy.deepcopy(prepared.applied_operations)
        image = MetaTensor(one, meta=prepared.meta, applied_operations=operations)
        found = self._apply(self._preprocess.inverse, {"image": image})["image"]
        restored: NDArray[np.float32] = np.asarray(found, np.float32)[0]
        return restored

    def _begin(self, volume: highdicom.Volume, progress: Progress) -> None:
        bad = volume.array.size - int(np.isfinite(volume.array).sum())
        if bad:
            raise InputError(
                f"{self.name}: {bad} voxels are NaN or infinite",
                hint="check how the volume was made",
                stage="preprocess",
            )
        for network in self._networks.values():
            network.begin(progress)

    def _read(
        self, volume: highdicom.Volume, progress: Progress
    ) -> SegmentationResult | FindingsResult:
        seconds: dict[str, float] = {}
        try:
            with _timed("preprocess", seconds, progress):
                data = self._prepared(volume)
        except NothingFoundError as error:
            if self.description.classes:
                raise self._unfit(error) from error
            empty = empty_labelmap(self.description.segments, volume.array.shape[:3])
            return self._segmentation(empty, seconds, None)
        check = self._gate.judge(data["image"].numpy()) if self._gate else None
        self._main.expect(windows(self._infer, data["image"].shape[1:]))
        with torch.inference_mode():
            output = self._apply(lambda image: self._infer(image, self._main), data["image"][None])
        with _timed("postprocess", seconds, progress):
            data["pred"] = MetaTensor(output[0], meta=data["image"].meta)
            data = self._apply(self._postprocess, data)
        return self._result(data, volume.array.shape[:3], seconds, check)

    def _prepared(self, volume: highdicom.Volume) -> dict[str, Any]:
        try:
            data: dict[str, Any] = self._apply(self._preprocess, {"image": as_ras_image(volume)})
        except NoContrastError as error:
            raise self._unfit(error) from error
        return data

    def _unfit(self, error: Exception) -> InputError:
        return InputError(
            f"{self.name}: {error}", hint="check the series in a viewer", stage="preprocess"
        )

    def _result(
        self,
        data: Mapping[str, Any],
        shape: tuple[int, ...],
        seconds: Mapping[str, float],
        check: InputCheck | None,
    ) -> SegmentationResult | FindingsResult:
        found = np.asarray(data["pred"])
        if not self.description.classes:
            labelmap = labelmap_of(self.name, self.description, found, shape)
            return self._segmentation(labelmap, seconds, check)
        labels = [each.label for each in self.description.classes]
        return FindingsResult(
            findings=findings_of(self.name, self.description, found, self.operating_points),
            model=self.identity,
            seconds=self._split(seconds),
            input_check=check,
            slice_index=int(data["key_slice"]) if "key_slice" in data else None,
            probabilities=dict(zip(labels, found.tolist(), strict=True)),
        )

    def _segmentation(
        self,
        labelmap: NDArray[np.unsignedinteger],
        seconds: Mapping[str, float],
        check: InputCheck | None,
    ) -> SegmentationResult:
        return SegmentationResult(
            labelmap,
            self.description.segments,
            self.identity,
            self._split(seconds),
            check,
            self.description.segments_overlap,
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

    def close(self) -> None:
        """Give back what the networks hold."""
        for predictor in self._predictors.values():
            predictor.close()


@contextmanager
def _timed(step: str, seconds: dict[str, float], progress: Progress) -> Iterator[None]:
    progress(step, 0.0)
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started
    progress(step, 1.0)


def operating_points_of(bundle: Path, description: Description) -> Mapping[str, float]:
    """From which probability each class is present; none of a segmenter.

    Raises ConfigError if the bundle is not calibrated.
    """
    if not description.classes:
        return {}
    try:
        points: Mapping[str, float] = read_calibration(bundle / CALIBRATION)["operating_points"]
    except NotCalibratedError as error:
        raise ConfigError(str(error), hint="train the bundle: wetread bundle train") from error
    return points


def as_ras_image(volume: highdicom.Volume) -> MetaTensor:
    """A volume in LPS as MONAI wants it: (channel, slice, row, column) with an affine to RAS mm.

    The one place where LPS becomes RAS; the axes stay as they are, that of channels comes first.
    """
    several = volume.array if volume.array.ndim == 4 else volume.array[..., None]
    array = np.moveaxis(np.asarray(several, np.float32), -1, 0)
    affine = torch.from_numpy(_LPS_TO_RAS @ np.asarray(volume.affine, np.float64))
    # Transforms may ask where the image lay at first, as LoadImaged says.
    meta = {"original_affine": affine.clone(), "spatial_shape": np.array(array.shape[1:])}
    # The transforms may write in place; the volume is the caller's.
    return MetaTensor(torch.from_numpy(array.copy()), affine=affine, meta=meta)


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
    if MAIN_NETWORK not in networks:
        raise ConfigError(
            f"{path.with_name('export.json')}: no network has the config_id {MAIN_NETWORK!r}",
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

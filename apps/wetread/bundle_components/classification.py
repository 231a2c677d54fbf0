"""From logits of slices to calibrated probabilities of a series, and how they are calibrated."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import MapTransform
from numpy.typing import NDArray

from wetread.bundle_components.transforms import Data, plain

ECE_BINS = 10
_TEMPERATURES = (0.05, 20.0)


class NotCalibratedError(ValueError):
    """There is no calibration, or not of the classes of the bundle."""


class SliceInferer(Inferer):
    """Ask the network slice by slice: (1, channel, slice, …) → (1, class, slice) logits.

    `sw_batch_size` slices at once, as MONAI calls it for windows.
    """

    def __init__(self, sw_batch_size: int = 1) -> None:
        super().__init__()
        self.sw_batch_size = sw_batch_size

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        slices = inputs[0].movedim(1, 0)
        logits = [network(some, *args, **kwargs) for some in slices.split(self.sw_batch_size)]
        return torch.cat(logits).movedim(0, 1)[None]


class ProbabilitiesOfSeriesd(MapTransform):
    """(class, slice) logits → (class,) calibrated probabilities of the whole series.

    Logits are divided by the `temperature` of the file `calibration` (Guo et al., ICML 2017). The
    `slices` slices with the lowest probability of the class number `normal` are averaged; without
    `normal`, those whose likeliest class is likeliest. The first of them goes into `key_slice`.

    Raises NotCalibratedError if the file is not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        calibration: str,
        slices: int = 1,
        normal: int | None = None,
    ) -> None:
        super().__init__(keys)
        self.calibration = Path(calibration)
        self.slices = slices
        self.normal = normal

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            temperature = read_calibration(self.calibration)["temperature"]
            found = torch.softmax(plain(d[key]) / float(temperature), dim=0)
            order = self._order(found)[: self.slices]
            d[key] = found[:, order].mean(1)
            d["key_slice"] = order[0]
        return d

    def _order(self, found: torch.Tensor) -> torch.Tensor:
        if self.normal is None:
            return torch.argsort(found.amax(0), descending=True, stable=True)
        return torch.argsort(found[self.normal], stable=True)


class ProbabilitiesOfVolumed(MapTransform):
    """(class,) logits of a whole volume → (class,) calibrated probabilities.

    Raises NotCalibratedError if the file `calibration` is not there.
    """

    def __init__(self, keys: KeysCollection, calibration: str) -> None:
        super().__init__(keys)
        self.calibration = Path(calibration)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            temperature = read_calibration(self.calibration)["temperature"]
            d[key] = torch.softmax(plain(d[key]) / float(temperature), dim=0)
        return d


def read_calibration(path: Path) -> dict[str, Any]:
    """What `calibrate` wrote. Raises NotCalibratedError if it is not there or no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        float(content["temperature"]), dict(content["operating_points"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotCalibratedError(
            f"{path}: {error}; training writes it beside the weights"
        ) from error
    return content


def calibrate(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Temperature and operating points from (case, class) logits of validation cases.

    The temperature is the one of the least cross-entropy. A class's operating point is the
    probability from which on it is called present: the one of the largest sensitivity +
    specificity − 1 (Youden, 1950), half-way between the neighbouring cases.
    """
    temperature = _temperature(logits, labels)
    before, after = softmax(logits), softmax(logits / temperature)
    return {
        "temperature": round(temperature, 4),
        "operating_points": {
            name: round(operating_point(after[:, number], labels == number), 4)
            for number, name in enumerate(classes)
        },
        "fitted_on": len(labels),
        "ece_before": round(expected_calibration_error(before, labels), 4),
        "ece_after": round(expected_calibration_error(after, labels), 4),
    }


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities of (case, class) logits."""
    shifted = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
    found: NDArray[np.float64] = shifted / shifted.sum(1, keepdims=True)
    return found


def _temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        found = softmax(logits / np.exp(log_temperature))
        return float(-np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-12)).mean())

    bounds = tuple(float(np.log(each)) for each in _TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def operating_point(probabilities: NDArray[np.floating[Any]], present: NDArray[np.bool_]) -> float:
    """Where sensitivity + specificity − 1 is largest; 0.5 if all are of one kind."""
    if present.all() or not present.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    values, truth = probabilities[order], present[order]
    youden = np.cumsum(truth) / truth.sum() - np.cumsum(~truth) / (~truth).sum()
    # A threshold can only lie where the probability changes.
    youden[np.flatnonzero(values[:-1] == values[1:])] = -1.0
    best = int(youden.argmax())
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return float((values[best] + below) / 2)


def expected_calibration_error(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> float:
    """Mean distance of confidence and accuracy over `ECE_BINS` bins of equal width.

    See Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = [
        abs(confidence[bins == each].sum() - correct[bins == each].sum())
        for each in range(ECE_BINS)
    ]
    return float(sum(gaps) / len(labels))

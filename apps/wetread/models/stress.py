"""How much worse a model reads images that are not as they should be, and whether its gate says so.

Every reading goes the gateway's way: perturbations change the image before the bundle's
preprocessing, attacks the prepared image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import highdicom
import numpy as np
from monai.data import MetaTensor

from wetread.errors import ConfigError
from wetread.infer.base import Predictor, Progress, no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.description import bundle_version, load_networks
from wetread.infer.embedded import EmbeddedPredictor
from wetread.models.attack import EPSILONS, Forward, attack, torch_forward
from wetread.models.classification import Classification, area_under_curve, balanced_accuracy
from wetread.models.evaluation import cases_of, evaluate_cases
from wetread.models.perturb import PERTURBATIONS, SEVERITIES, level_of, perturbed
from wetread.models.segmentation import Segmentation
from wetread.results import FindingsResult, InputCheck, ModelIdentity, SegmentationResult

KINDS = (*PERTURBATIONS, *EPSILONS)
_NONE = ("none", 0)
Case = TypeVar("Case")


@dataclass(frozen=True, slots=True)
class StressPoint:
    """One kind of change in one degree: figures over the cases, and the share that is flagged.

    `level` is the number of `PERTURBATIONS` or `EPSILONS` behind the severity; `flagged` is None
    for a model without a gate.
    """

    kind: str
    severity: int
    level: float | None
    figures: Mapping[str, float]
    flagged: float | None


@dataclass(frozen=True, slots=True)
class Stress:
    """A model on unchanged images (`clean`), and on changed ones."""

    model: str
    version: str
    count: int
    clean: StressPoint
    points: tuple[StressPoint, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)


class StressedModel(BundleModel):
    """A model that reads every image changed, as `expose` said last, and remembers its gate."""

    def __init__(
        self, identity: ModelIdentity, bundle: Path, predictors: Mapping[str, Predictor]
    ) -> None:
        super().__init__(identity, bundle, predictors)
        self.checks: list[InputCheck | None] = []
        self._change = _NONE
        self._forward: Forward | None = None

    def expose(self, kind: str, severity: int) -> None:
        """Change what is read from now on. The seed is the number of readings since."""
        self.checks = []
        self._change = (kind, severity)
        if kind in EPSILONS and self._forward is None:
            self._forward = torch_forward(self.bundle)

    def read(
        self, volume: highdicom.Volume, progress: Progress
    ) -> SegmentationResult | FindingsResult:
        """As `BundleModel.read`, of the changed volume."""
        kind, severity = self._change
        if kind in PERTURBATIONS:
            volume = perturbed(volume, kind, severity, seed=len(self.checks))
        result = super().read(volume, progress)
        self.checks.append(result.input_check)
        return result

    def _prepared(self, volume: highdicom.Volume) -> dict[str, Any]:
        data = super()._prepared(volume)
        kind, severity = self._change
        if kind in EPSILONS and self._forward is not None:
            image = data["image"]
            changed = attack(self._forward, image.as_tensor(), kind, severity)
            data["image"] = MetaTensor(
                changed, meta=image.meta, applied_operations=image.applied_operations
            )
        return data


def open_stressed(bundle: Path, repository: Path) -> StressedModel:
    """The bundle with its exported networks. Raises as `open_model`."""
    predictors = {name: EmbeddedPredictor(name, repository) for name in load_networks(bundle)}
    identity = ModelIdentity(bundle.name, bundle_version(bundle), "")
    return StressedModel(identity, bundle, predictors)


def stress_model(
    model: StressedModel,
    data: Path,
    progress: Progress,
    *,
    kinds: Sequence[str] = KINDS,
    split: str | None = None,
    most_cases: int | None = None,
) -> Stress:
    """Evaluate the model on a split of `data`, unchanged and by each kind in each severity.

    The figures are `mean_dice` of a segmenter, `auc` and `balanced_accuracy` of a classifier. Of
    many cases `most_cases` are taken, evenly.

    Raises ConfigError for an unknown kind, InputError for data that cannot be read, and as `read`.
    """
    _check_kinds(kinds)
    evaluate = _evaluation(model, data, split, most_cases)
    clean = _point(model, evaluate, *_NONE)
    points = []
    for number, kind in enumerate(kinds):
        for severity in SEVERITIES:
            done = (number + severity / (len(SEVERITIES) + 1)) / len(kinds)
            progress(f"{kind} {severity}", done)
            points.append(_point(model, evaluate, kind, severity))
    return Stress(model.name, model.identity.version, len(model.checks), clean, tuple(points))


def _check_kinds(kinds: Sequence[str]) -> None:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f"no kind {unknown[0]!r}", hint=f"there are {', '.join(KINDS)}")


def _evaluation(
    model: StressedModel, data: Path, split: str | None, most_cases: int | None
) -> Callable[[], Mapping[str, float]]:
    cases = _some(cases_of(model, data, split), most_cases)
    return lambda: _figures(evaluate_cases(model, cases, no_progress))


def _some(cases: Sequence[Case], most: int | None) -> list[Case]:
    if most is None or len(cases) <= most:
        return list(cases)
    places = np.linspace(0, len(cases) - 1, most).round().astype(int)
    return [cases[place] for place in places]


def _figures(found: Segmentation | Classification) -> Mapping[str, float]:
    if isinstance(found, Segmentation):
        return {"mean_dice": float(np.mean([case.mean_dice for case in found.cases]))}
    area = area_under_curve(found.probabilities, found.labels)
    balanced = balanced_accuracy(found.probabilities, found.labels)
    return {"balanced_accuracy": balanced} | ({} if area is None else {"auc": area})


def _point(
    model: StressedModel, evaluate: Callable[[], Mapping[str, float]], kind: str, severity: int
) -> StressPoint:
    model.expose(kind, severity)
    figures = evaluate()
    checks = [check for check in model.checks if check is not None]
    flagged = float(np.mean([not check.is_like_training for check in checks])) if checks else None
    return StressPoint(kind, severity, _level(kind, severity), figures, flagged)


def _level(kind: str, severity: int) -> float | None:
    levels = {name: each.levels for name, each in PERTURBATIONS.items()} | dict(EPSILONS)
    return level_of(levels, kind, severity) if severity else None

"""How well a model segments: every case by Dice, IoU, HD95 and volume, with bootstrap intervals.

Cases are read as the gateway reads them, by `BundleModel.read`, so the figures are those of what is
served.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray

from wetread.bundle_components.data import Case, DataFolderError, decathlon_cases, usual_split
from wetread.errors import InputError, ModelContractError
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.files import volume_from_nifti
from wetread.models.intervals import confidence_interval
from wetread.results import ModelIdentity, SegmentationResult

# Image and label were written by different programs: their affines may differ in the last digits.
_SAME_PLACE_MM = 1e-2


@dataclass(frozen=True, slots=True)
class SegmentScore:
    """One segment of one case. Dice and IoU are 1 if it is rightly absent.

    `hd95_mm` is the 95th percentile of the distances between the surfaces, None if one is empty.
    """

    dice: float
    iou: float
    hd95_mm: float | None
    volume_ml: float
    reference_ml: float


@dataclass(frozen=True, slots=True)
class CaseScore:
    """One case: its segments by label."""

    case: str
    segments: Mapping[str, SegmentScore]

    @property
    def mean_dice(self) -> float:
        """Over its segments."""
        return float(np.mean([segment.dice for segment in self.segments.values()]))

    @property
    def mean_iou(self) -> float:
        """Over its segments."""
        return float(np.mean([segment.iou for segment in self.segments.values()]))

    @property
    def mean_hd95_mm(self) -> float | None:
        """Over its segments that have surfaces to compare."""
        return _mean([each.hd95_mm for each in self.segments.values() if each.hd95_mm is not None])


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What one model made of a set of cases."""

    model: ModelIdentity
    cases: tuple[CaseScore, ...]

    def as_dict(self) -> dict[str, Any]:
        """Means over cases; `intervals` has the `confidence_interval` of each.

        Keys: `mean_dice`, `mean_iou` and `mean_hd95_mm` over the segments of each case; `dice`,
        `iou`, `hd95_mm` and `volume_error_ml` (found − reference) by label; `cases`, worst first.
        """
        labels = list(self.cases[0].segments)
        by_key: dict[str, dict[str, list[float]]] = {
            "dice": {label: [case.segments[label].dice for case in self.cases] for label in labels},
            "iou": {label: [case.segments[label].iou for case in self.cases] for label in labels},
            "hd95_mm": {label: self._distances(label) for label in labels},
            "volume_error_ml": {label: self._volume_errors(label) for label in labels},
        }
        means = {
            "mean_dice": [case.mean_dice for case in self.cases],
            "mean_iou": [case.mean_iou for case in self.cases],
            "mean_hd95_mm": [
                each.mean_hd95_mm for each in self.cases if each.mean_hd95_mm is not None
            ],
        }
        return {
            "model": self.model.name,
            "version": self.model.version,
            "weights_sha256": self.model.weights_sha256,
            "count": len(self.cases),
            **_each(means, _mean),
            **{key: _each(values, _mean) for key, values in by_key.items()},
            "intervals": {
                **_each(means, confidence_interval),
                **{key: _each(values, confidence_interval) for key, values in by_key.items()},
            },
            "cases": [
                {**asdict(case), "mean_dice": case.mean_dice}
                for case in sorted(self.cases, key=lambda case: case.mean_dice)
            ],
        }

    def _distances(self, label: str) -> list[float]:
        found = (case.segments[label].hd95_mm for case in self.cases)
        return [value for value in found if value is not None]

    def _volume_errors(self, label: str) -> list[float]:
        scores = (case.segments[label] for case in self.cases)
        return [score.volume_ml - score.reference_ml for score in scores]


def _each(
    values: Mapping[str, Sequence[float]], figure: Callable[[Sequence[float]], Any]
) -> dict[str, Any]:
    return {label: figure(numbers) for label, numbers in values.items()}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def cases_in(folder: Path, split: str | None) -> list[Case]:
    """The cases of a folder in the form of the Medical Segmentation Decathlon.

    Without a split, those of `usual_split`. Raises InputError.
    """
    try:
        return decathlon_cases(folder, split or usual_split(folder))
    except DataFolderError as error:
        raise InputError(
            str(error),
            hint="dataset.json lists image and label of each case; see bundles/README.md",
        ) from error


def evaluate_segmentation(
    model: BundleModel, cases: Sequence[Case], progress: Progress
) -> Segmentation:
    """Read every case and compare it with its label.

    Raises InputError for a case whose image and label do not lie on one grid, and as `read`.
    """
    scores = []
    for number, case in enumerate(cases):
        progress("evaluate", number / len(cases))
        scores.append(_score(model, case))
    progress("evaluate", 1.0)
    return Segmentation(model.identity, tuple(scores))


def _score(model: BundleModel, case: Case) -> CaseScore:
    image, label = (volume_from_nifti(Path(case[key])) for key in ("image", "label"))
    name = Path(case["image"]).name
    _check_grid(name, image, label)
    found = model.read(image, no_progress)
    if not isinstance(found, SegmentationResult):
        raise ModelContractError(
            f"{model.name} classifies, so there is no mask to compare",
            hint="evaluate it on a folder with a labels.csv",
        )
    truth = replace(found, labelmap=np.rint(np.asarray(label.array)).astype(np.uint16))
    segments = {
        segment.label: score_segment(found.mask_of(segment), truth.mask_of(segment), image.spacing)
        for segment in found.segments
    }
    return CaseScore(name, segments)


def _check_grid(name: str, image: highdicom.Volume, label: highdicom.Volume) -> None:
    if image.spatial_shape != label.spatial_shape:
        raise InputError(
            f"{name}: the image is {image.spatial_shape}, its label {label.spatial_shape}",
            hint="give the label on the grid of its image",
        )
    apart = float(np.abs(np.asarray(image.affine) - np.asarray(label.affine)).max())
    if apart > _SAME_PLACE_MM:
        raise InputError(
            f"{name}: the affines of image and label differ by {apart:.3g} mm",
            hint="give the label on the grid of its image",
        )


def score_segment(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> SegmentScore:
    """Compare two masks of one shape, voxels `spacing_mm` apart along each axis."""
    both, either = int((found & truth).sum()), int((found | truth).sum())
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return SegmentScore(
        dice=2 * both / (both + either) if either else 1.0,
        iou=both / either if either else 1.0,
        hd95_mm=_hd95_mm(found, truth, spacing_mm),
        volume_ml=int(found.sum()) * voxel_ml,
        reference_ml=int(truth.sum()) * voxel_ml,
    )


def _hd95_mm(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> float | None:
    if not (found.any() and truth.any()):
        return None
    masks = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (found, truth))
    with warnings.catch_warnings():
        # MONAI 1.6 calls a function of its own with an argument that it announces the end of.
        warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges", FutureWarning)
        distance = compute_hausdorff_distance(
            *masks, include_background=True, percentile=95, spacing=list(map(float, spacing_mm))
        )
    return float(distance[0, 0])

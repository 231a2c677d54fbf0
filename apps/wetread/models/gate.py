"""Make the input gate of a bundle from its data, and measure what it tells apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from wetread.dicom.files import is_nifti, is_picture
from wetread.errors import InputError
from wetread.infer.base import Progress
from wetread.infer.bundle import BundleModel
from wetread.infer.description import main_network
from wetread.infer.files import volume_from_nifti, volume_from_picture
from wetread.infer.gate import Gate, Vector, describe, fit_gate
from wetread.models.evaluation import cases_of
from wetread.models.perturb import PERTURBATIONS, perturbed
from wetread.models.segmentation import cases_in

# The validation images are changed to the middle degree, and of other data so many images taken.
SHIFT_SEVERITY = 3
MOST_OTHERS = 100


@dataclass(frozen=True, slots=True)
class Separation:
    """How one set of images is told from the validation images.

    `auroc` is the chance that one of its images is farther away than one of the validation,
    `flagged` the share that is called unlike; an image that the model refuses is both.
    """

    name: str
    count: int
    auroc: float
    flagged: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A gate, and what it makes of the validation images themselves and of others."""

    gate: Gate
    val_flagged: float
    others: tuple[Separation, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the gate's own numbers."""
        return {
            "limit": self.gate.limit,
            "train_images": self.gate.train_images,
            "val_cases": self.gate.val_cases,
            "val_flagged": self.val_flagged,
            "others": [asdict(each) for each in self.others],
        }


def calibrate_gate(
    model: BundleModel, data: Path, against: Sequence[Path], progress: Progress
) -> Calibration:
    """Fit on the split "train" of `data`, set the limit on "val", and try it on other images.

    Those are the validation images changed by each of `PERTURBATIONS`, and of each folder of
    `against` up to 100 images, NIfTI, PNG or JPEG. Raises InputError for data that cannot be read,
    or that are too few.
    """
    dims = _spatial_dims(model)
    below = [(folder.name, _files_below(folder)) for folder in against]
    train = [
        describe(model.prepare(volume).numpy(), dims)
        for volume in _volumes(model, _files(model, data, "train"), "train", progress)
    ]
    val = list(_volumes(model, _files(model, data, "val"), "val", progress))
    gate = fit_gate(train, [describe(model.prepare(each).numpy(), dims) for each in val], dims)
    own = _distances(model, gate, val)
    others = []
    for kind in PERTURBATIONS:
        progress(kind, 0.0)
        shifted = (perturbed(each, kind, SHIFT_SEVERITY, seed) for seed, each in enumerate(val))
        others.append((f"{kind}, severity {SHIFT_SEVERITY}", _distances(model, gate, shifted)))
    for name, files in below:
        volumes = _volumes(model, files, name, progress)
        others.append((name, _distances(model, gate, volumes)))
    return Calibration(
        gate, _share(own > gate.limit), tuple(_separation(gate, own, *each) for each in others)
    )


def _spatial_dims(model: BundleModel) -> int:
    return len(main_network(model.bundle).input.shape) - 2


def _files(model: BundleModel, data: Path, split: str) -> list[Path]:
    return [Path(case["image"]) for case in cases_of(model, data, split)]


def _files_below(folder: Path) -> list[Path]:
    """The images of a folder in Decathlon form, or all below it; if many, evenly chosen."""
    if (folder / "dataset.json").is_file():
        found = [Path(case["image"]) for case in cases_in(folder, None)]
    else:
        found = sorted(each for each in folder.rglob("*") if is_nifti(each) or is_picture(each))
    if not found:
        raise InputError(f"{folder}: no image", hint="give a folder with NIfTI, PNG or JPEG files")
    return found[:: -(-len(found) // MOST_OTHERS)]


def _volumes(
    model: BundleModel, files: Sequence[Path], what: str, progress: Progress
) -> Iterator[highdicom.Volume]:
    for number, path in enumerate(files):
        progress(what, number / len(files))
        yield (
            volume_from_picture(path, model.value_range)
            if is_picture(path)
            else volume_from_nifti(path)
        )


def _distances(model: BundleModel, gate: Gate, volumes: Iterable[highdicom.Volume]) -> Vector:
    return np.array([_distance(model, gate, each) for each in volumes])


def _distance(model: BundleModel, gate: Gate, volume: highdicom.Volume) -> float:
    try:
        return gate.judge(model.prepare(volume).numpy()).distance
    except InputError:
        # Without contrast, or too thin: the model would not read it, so it is no trap.
        return float("inf")


def _separation(gate: Gate, own: Vector, name: str, others: Vector) -> Separation:
    farther = (others[:, None] > own).mean() + (others[:, None] == own).mean() / 2
    return Separation(name, len(others), float(farther), _share(others > gate.limit))


def _share(chosen: NDArray[np.bool_]) -> float:
    return float(np.mean(chosen))

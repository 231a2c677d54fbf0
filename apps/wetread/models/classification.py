"""How well a model tells classes apart: AUC, accuracy, calibration, with bootstrap intervals.

Every file is read as the gateway reads a series, by `BundleModel.read`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from wetread.bundle_components.classification import expected_calibration_error
from wetread.bundle_components.data import DataFolderError, labelled_files, usual_split
from wetread.errors import InputError, ModelContractError
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.files import volume_from_picture
from wetread.infer.subjects import volume_from_subject
from wetread.models.intervals import grouped_interval
from wetread.results import FindingsResult, ModelIdentity

Probabilities = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassifiedCase:
    """One file: what it is, what the model made of it, and who or what it shows.

    `label` and the keys of `probabilities` are the bundle's classes; `facts` are the other columns
    of its line in labels.csv.
    """

    file: str
    label: str
    group: str
    probabilities: Mapping[str, float]
    facts: Mapping[str, str]

    @property
    def said(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


@dataclass(frozen=True, slots=True)
class Classification:
    """What one model made of a set of files. `operating_points` are the bundle's, by class."""

    model: ModelIdentity
    operating_points: Mapping[str, float]
    cases: tuple[ClassifiedCase, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the bundle."""
        return tuple(self.cases[0].probabilities)

    @property
    def probabilities(self) -> Probabilities:
        """(case, class)."""
        return np.array([list(case.probabilities.values()) for case in self.cases])

    @property
    def labels(self) -> Labels:
        """The number of each case's class, from 0."""
        return np.array([self.classes.index(case.label) for case in self.cases])

    def confusion(self) -> NDArray[np.int64]:
        """(true class, said class) counts."""
        table = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(table, (self.labels, self.probabilities.argmax(1)), 1)
        return table

    def as_dict(self) -> dict[str, Any]:
        """Figures over all cases; `intervals` has the 95 % interval of each.

        Keys: `auc` (for several classes the mean of each against the rest), `accuracy`,
        `balanced_accuracy`, `ece`; `sensitivity` and `specificity` at its operating point by class
        that has one; `confusion` (rows are true); `cases`, the most wrong ones first.
        """
        figures = self._figures()
        values = {name: figure(self.probabilities, self.labels) for name, figure in figures.items()}
        groups = [case.group for case in self.cases]
        intervals = {
            name: grouped_interval(groups, self._on_some(figure))
            for name, figure in figures.items()
        }
        return {
            "model": self.model.name,
            "version": self.model.version,
            "weights_sha256": self.model.weights_sha256,
            "count": len(self.cases),
            "groups": len(set(groups)),
            **_nested(values),
            "intervals": _nested(intervals),
            "classes": list(self.classes),
            "confusion": self.confusion().tolist(),
            "cases": [_case_as_dict(case) for case in sorted(self.cases, key=_truth_probability)],
        }

    def _figures(self) -> dict[str, Callable[[Probabilities, Labels], float | None]]:
        by_class = {
            f"{name}.{label}": _at_point(figure, self.classes.index(label), point)
            for label, point in self.operating_points.items()
            for name, figure in (("sensitivity", sensitivity), ("specificity", specificity))
        }
        return {
            "auc": area_under_curve,
            "accuracy": lambda found, labels: float((found.argmax(1) == labels).mean()),
            "balanced_accuracy": balanced_accuracy,
            "ece": expected_calibration_error,
            **by_class,
        }

    def _on_some(
        self, figure: Callable[[Probabilities, Labels], float | None]
    ) -> Callable[[NDArray[np.intp]], float | None]:
        found, labels = self.probabilities, self.labels
        return lambda chosen: figure(found[chosen], labels[chosen])


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`sensitivity.pneumonia` as a table within `sensitivity`."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        outer, _, label = name.partition(".")
        if label:
            nested.setdefault(outer, {})[label] = value
        else:
            nested[outer] = value
    return nested


def _case_as_dict(case: ClassifiedCase) -> dict[str, Any]:
    return {
        "case": case.file,
        "label": case.label,
        "said": case.said,
        "group": case.group,
        "probabilities": {name: round(value, 5) for name, value in case.probabilities.items()},
    }


def _truth_probability(case: ClassifiedCase) -> float:
    return case.probabilities[case.label]


def _at_point(
    figure: Callable[[NDArray[np.bool_], NDArray[np.bool_]], float | None],
    number: int,
    point: float,
) -> Callable[[Probabilities, Labels], float | None]:
    return lambda found, labels: figure(found[:, number] >= point, labels == number)


def sensitivity(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float | None:
    """The share of what is present that is called present; None if nothing is."""
    return float(said[truth].mean()) if truth.any() else None


def specificity(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float | None:
    """The share of what is absent that is called absent; None if nothing is."""
    return float((~said[~truth]).mean()) if (~truth).any() else None


def balanced_accuracy(found: Probabilities, labels: Labels) -> float:
    """The mean over the classes that occur of the share that is recognised."""
    said = found.argmax(1)
    return float(np.mean([(said[labels == each] == each).mean() for each in np.unique(labels)]))


def area_under_curve(found: Probabilities, labels: Labels) -> float | None:
    """The area under the ROC curve: for two classes of the second, else the mean over classes.

    A class that does not occur, or alone, has none and does not count; None if no class counts.
    See Hanley and McNeil, Radiology 143:29 (1982): the share of pairs in the right order.
    """
    numbers = [1] if found.shape[1] == 2 else range(found.shape[1])
    areas = [_area(found[:, number], labels == number) for number in numbers]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if known else None


def _area(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float | None:
    present, absent = int(truth.sum()), int((~truth).sum())
    if not present or not absent:
        return None
    ranks = rankdata(scores)[truth].sum()
    return float((ranks - present * (present + 1) / 2) / (present * absent))


def labelled_cases(folder: Path, split: str | None, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The files of a split of a folder with a labels.csv; without one, those of `usual_split`.

    Raises InputError if the folder is not as `labelled_files` wants it.
    """
    try:
        return labelled_files(folder, split or usual_split(folder), classes)
    except DataFolderError as error:
        raise InputError(
            str(error), hint="labels.csv has the columns file, label, split; see bundles/README.md"
        ) from error


def evaluate_classification(
    model: BundleModel,
    cases: Sequence[Mapping[str, Any]],
    progress: Progress,
) -> Classification:
    """Read every file, and keep what the model says beside its label.

    Raises InputError for a file that cannot be read, ModelContractError if the model segments.
    """
    classified = []
    for number, case in enumerate(cases):
        progress("evaluate", number / len(cases))
        classified.append(_classified(model, case))
    progress("evaluate", 1.0)
    points = {
        each.label: model.operating_points[each.label]
        for each in model.description.classes
        if each.finding is not None
    }
    return Classification(model.identity, points, tuple(classified))


def volume_of_case(model: BundleModel, path: Path) -> highdicom.Volume:
    """What `file` names: the folder of a subject's modalities, or a picture."""
    if model.modalities and path.is_dir():
        return volume_from_subject(path, model.modalities)
    return volume_from_picture(path, model.value_range)


_NOT_FACTS = ("file", "image", "label", "group", "split")


def _classified(model: BundleModel, case: Mapping[str, Any]) -> ClassifiedCase:
    found = model.read(volume_of_case(model, Path(case["image"])), no_progress)
    if not isinstance(found, FindingsResult):
        raise ModelContractError(
            f"{model.name} segments, so there is nothing to compare labels with",
            hint="evaluate it on a folder with a dataset.json",
        )
    return ClassifiedCase(
        file=case["file"],
        label=model.description.classes[case["label"]].label,
        group=case["group"],
        probabilities=found.probabilities,
        facts={key: str(value) for key, value in case.items() if key not in _NOT_FACTS},
    )

"""One way to evaluate every bundle: the data's form and the bundle say which figures there are."""

from __future__ import annotations

from pathlib import Path

from wetread.infer.base import Progress
from wetread.infer.bundle import BundleModel
from wetread.models.classification import Classification, evaluate_classification, labelled_cases
from wetread.models.segmentation import Segmentation, cases_in, evaluate_segmentation


def evaluate(
    model: BundleModel, data: Path, split: str | None, progress: Progress
) -> Segmentation | Classification:
    """Read every case of a split of a folder, and compare it with its label.

    A segmenter wants a folder in the form of the Decathlon, a classifier one with a labels.csv.
    Raises InputError if the folder is not so, and as `BundleModel.read`.
    """
    if model.description.classes:
        classes = [each.label for each in model.description.classes]
        return evaluate_classification(model, labelled_cases(data, split, classes), progress)
    return evaluate_segmentation(model, cases_in(data, split), progress)

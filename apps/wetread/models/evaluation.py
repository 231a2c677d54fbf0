"""One way to evaluate every bundle: the data's form and the bundle say which figures there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from wetread.config import EmbeddedModel
from wetread.infer.base import Progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.models.classification import Classification, evaluate_classification, labelled_cases
from wetread.models.export import build_models
from wetread.models.segmentation import Segmentation, cases_in, evaluate_segmentation


@contextmanager
def built_model(bundle: Path, repository: Path, progress: Progress) -> Iterator[BundleModel]:
    """The bundle as the gateway opens it, exported before if need be; closed afterwards.

    Raises as `build_models` and `open_model`.
    """
    build_models(bundle, repository, progress)
    with closing(open_model(bundle.name, EmbeddedModel(bundle=bundle), repository)) as model:
        yield model


def cases_of(model: BundleModel, data: Path, split: str | None) -> list[dict[str, Any]]:
    """The cases of a split of a folder, each with its `image` and `label`.

    A segmenter wants a folder in the form of the Decathlon, a classifier one with a labels.csv.
    Raises InputError if the folder is not so.
    """
    if model.description.classes:
        classes = [each.label for each in model.description.classes]
        return labelled_cases(data, split, classes)
    return [dict(case) for case in cases_in(data, split)]


def evaluate(
    model: BundleModel, data: Path, split: str | None, progress: Progress
) -> Segmentation | Classification:
    """Read every case of a split of a folder, and compare it with its label.

    Raises as `cases_of` and as `BundleModel.read`.
    """
    return evaluate_cases(model, cases_of(model, data, split), progress)


def evaluate_cases(
    model: BundleModel, cases: Sequence[dict[str, Any]], progress: Progress
) -> Segmentation | Classification:
    """Read every one of `cases_of`, and compare it with its label. Raises as `BundleModel.read`."""
    if model.description.classes:
        return evaluate_classification(model, cases, progress)
    return evaluate_segmentation(model, cases, progress)

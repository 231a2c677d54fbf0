"""On what a candidate is compared with the current model: labelled data, and held-out corrections.

Corrections are masks of readers. Those in the hold-out were never trained on; of them the newest
are read, without those that are a model's own proposal: they would only say how like that model
another one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wetread.bundle_components.data import usual_split
from wetread.corrections.cases import Correction, Review, holdout_of, read_corrections
from wetread.errors import ConfigError, InputError, ModelContractError
from wetread.infer.base import Progress
from wetread.infer.description import load_description
from wetread.models.candidate import Trial
from wetread.models.classification import Classification
from wetread.models.comparison import (
    ComparedSet,
    compare_classifications,
    compare_segmentations,
)
from wetread.models.evaluation import cases_of, evaluate_cases
from wetread.models.segmentation import Segmentation
from wetread.models.subgroups import Facts, case_facts

RECENT = "recent corrections"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A folder of data with its split (None: the usual one), and a folder of annotations."""

    data: Path | None = None
    split: str | None = None
    annotations: Path | None = None


@dataclass(frozen=True, slots=True)
class Corrections:
    """The held-out ones, newest first, and how many others there are, which may be trained on."""

    held_out: tuple[Correction, ...]
    others: int


def corrections_for(folder: Path, bundle: str) -> Corrections:
    """What readers corrected of a bundle's results, proposals left out.

    Raises InputError if the hold-out names what is not there, or shares a study with the others:
    what was trained on would be remembered.
    """
    every = read_corrections(folder, bundle)
    held = holdout_of(folder, bundle)
    absent = held - {each.case_id for each in every}
    if absent:
        raise InputError(
            f"{folder / bundle}/holdout.json names {min(absent)}, which is not there",
            hint="restore the case, or take its name out",
        )
    inside = [each for each in every if each.case_id in held]
    outside = [each for each in every if each.case_id not in held]
    studies = {each.study_instance_uid: each.case_id for each in outside}
    for each in inside:
        other = studies.get(each.study_instance_uid)
        if other is not None:
            raise InputError(
                f"{folder / bundle}: {each.case_id} is held out, {other} of the same study is not",
                hint="name both in holdout.json, and train again without them",
            )
    judged = [each for each in reversed(inside) if each.review is not Review.PROPOSED]
    trained = [each for each in outside if each.review is not Review.PROPOSED]
    return Corrections(tuple(judged), len(trained))


def check_evidence(bundle: Path, evidence: Evidence) -> None:
    """Raise ConfigError if there is nothing to compare on, or masks for a classifier."""
    if evidence.data is None and evidence.annotations is None:
        raise ConfigError(
            "there is nothing to compare on", hint="give --data, --annotations or both"
        )
    if evidence.annotations is not None and load_description(bundle).classes:
        raise ConfigError(
            f"{bundle.name} classifies, and corrections are masks", hint="give --data alone"
        )


def compare(
    trial: Trial,
    evidence: Evidence,
    held_out: Sequence[Correction],
    progress: Progress,
) -> list[ComparedSet]:
    """Read every case with both models. Raises InputError for data that cannot be read."""
    sets = []
    if evidence.data is not None:
        sets.append(_on_data(trial, evidence.data, evidence.split, progress))
    if held_out:
        sets.append(_on_corrections(trial, held_out, progress))
    return sets


def _on_data(trial: Trial, data: Path, split: str | None, progress: Progress) -> ComparedSet:
    cases = cases_of(trial.current, data, split)
    name = f"{data.resolve().name}, split {split or usual_split(data)}"
    current, candidate = _both(trial, cases, progress)
    if isinstance(current, Classification) and isinstance(candidate, Classification):
        return compare_classifications(name, current, candidate)
    if isinstance(current, Segmentation) and isinstance(candidate, Segmentation):
        names = [case.case for case in current.cases]
        return compare_segmentations(name, current, candidate, names, case_facts(data, names))
    raise ModelContractError(
        f"{trial.current.name}: one model segments, the other classifies",
        hint="the candidate must be a copy of the bundle with other weights",
    )


def _on_corrections(
    trial: Trial, held_out: Sequence[Correction], progress: Progress
) -> ComparedSet:
    cases = [{"image": str(each.image), "label": str(each.label)} for each in held_out]
    current, candidate = _both(trial, cases, progress)
    facts: list[Facts] = [each.subgroups for each in held_out]
    names = [each.case_id for each in held_out]
    studies = [each.study_instance_uid for each in held_out]
    return compare_segmentations(RECENT, current, candidate, names, facts, studies)


def _both(trial: Trial, cases: list[dict[str, Any]], progress: Progress) -> tuple[Any, Any]:
    current = evaluate_cases(trial.current, cases, progress)
    return current, evaluate_cases(trial.candidate, cases, progress)

"""Two models on the same cases: paired differences with 95 % bootstrap intervals.

Of a segmenter the figure is the mean Dice of a case, of a classifier the AUC over cases. What is
drawn for the interval is a group: the patient or study where it is known, else the case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.bundle_components.data import GROUP_COLUMNS
from wetread.models.classification import Classification, area_under_curve
from wetread.models.intervals import Interval, grouped_interval
from wetread.models.segmentation import Segmentation
from wetread.models.subgroups import Facts, subgroups

Chosen = NDArray[np.intp]
# The figure of one model over the cases of those numbers; None where it has no answer.
Figure = Callable[[Chosen], float | None]
SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Difference:
    """The figure of both models over `count` cases; candidate − current with its 95 % interval."""

    count: int
    current: float
    candidate: float
    difference: float
    bounds: Interval

    def as_dict(self) -> dict[str, Any]:
        """Rounded, for JSON."""
        figures = (self.current, self.candidate, self.difference)
        names = ("current", "candidate", "difference")
        rounded = {name: round(each, 5) for name, each in zip(names, figures, strict=True)}
        return {"count": self.count, **rounded, "interval": [round(x, 5) for x in self.bounds]}


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """The same within the cases of one subgroup, or for one segment. None if it has no figure."""

    column: str
    value: str
    count: int
    found: Difference | None

    @property
    def name(self) -> str:
        """For a person: sex F."""
        return f"{self.column} {self.value}"


@dataclass(frozen=True, slots=True)
class PairedCase:
    """One case: of a segmenter its Dice, of a classifier the probability of its true class."""

    case: str
    current: float
    candidate: float
    facts: Facts


@dataclass(frozen=True, slots=True)
class ComparedSet:
    """Both models on one set of cases. `figure` is "Dice" or "AUC"."""

    name: str
    figure: str
    cases: tuple[PairedCase, ...]
    whole: Difference | None
    groups: tuple[GroupDifference, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the worst case first."""
        return {
            "name": self.name,
            "figure": self.figure,
            "count": len(self.cases),
            "whole": None if self.whole is None else self.whole.as_dict(),
            "groups": [
                {
                    "group": each.name,
                    "count": each.count,
                    **({} if each.found is None else each.found.as_dict()),
                }
                for each in self.groups
            ],
            "cases": [
                {
                    "case": each.case,
                    "current": round(each.current, 5),
                    "candidate": round(each.candidate, 5),
                    "facts": dict(each.facts),
                }
                for each in sorted(self.cases, key=lambda case: case.candidate - case.current)
            ],
        }


def compare_segmentations(
    name: str,
    current: Segmentation,
    candidate: Segmentation,
    names: Sequence[str],
    facts: Sequence[Facts],
    groups: Sequence[str] | None = None,
) -> ComparedSet:
    """By the Dice of the same cases in the same order; `names` are what a person calls them."""
    pairs = list(zip(current.cases, candidate.cases, strict=True))
    drawn = groups or _groups_of(names, facts)

    def each_of(label: str) -> tuple[list[float], list[float]]:
        scores = [(one.segments[label].dice, other.segments[label].dice) for one, other in pairs]
        return [one for one, _ in scores], [other for _, other in scores]

    means = [one.mean_dice for one, _ in pairs], [other.mean_dice for _, other in pairs]
    labels = list(pairs[0][0].segments) if pairs else []
    every = np.arange(len(pairs))
    by_segment = [
        GroupDifference(
            SEGMENT, label, len(pairs), _difference(drawn, every, *map(_mean_of, each_of(label)))
        )
        for label in (labels if len(labels) > 1 else [])
    ]
    figures = _mean_of(means[0]), _mean_of(means[1])
    return ComparedSet(
        name,
        "Dice",
        tuple(map(PairedCase, names, *means, facts)),
        _difference(drawn, every, *figures),
        (*by_segment, *_by_subgroup(facts, drawn, *figures)),
    )


def compare_classifications(
    name: str, current: Classification, candidate: Classification
) -> ComparedSet:
    """By the AUC over the same cases in the same order."""
    facts = [case.facts for case in current.cases]
    drawn = [case.group for case in current.cases]
    figures = _area_of(current), _area_of(candidate)
    cases = (
        PairedCase(
            one.file, one.probabilities[one.label], other.probabilities[one.label], one.facts
        )
        for one, other in zip(current.cases, candidate.cases, strict=True)
    )
    return ComparedSet(
        name,
        "AUC",
        tuple(cases),
        _difference(drawn, np.arange(len(facts)), *figures),
        tuple(_by_subgroup(facts, drawn, *figures)),
    )


def _groups_of(names: Sequence[str], facts: Sequence[Facts]) -> list[str]:
    """Of each case its patient or group, if one is known."""
    found = []
    for name, known in zip(names, facts, strict=True):
        lowered: Mapping[str, str] = {key.lower(): value for key, value in known.items()}
        found.append(next((lowered[key] for key in GROUP_COLUMNS if lowered.get(key)), name))
    return found


def _mean_of(values: Sequence[float]) -> Figure:
    numbers = np.asarray(values, float)
    return lambda chosen: float(numbers[chosen].mean()) if len(chosen) else None


def _area_of(found: Classification) -> Figure:
    probabilities, labels = found.probabilities, found.labels
    return lambda chosen: area_under_curve(probabilities[chosen], labels[chosen])


def _by_subgroup(
    facts: Sequence[Facts], drawn: Sequence[str], current: Figure, candidate: Figure
) -> Iterator[GroupDifference]:
    for group in subgroups(facts):
        chosen = np.array(group.cases, np.intp)
        found = _difference(drawn, chosen, current, candidate)
        yield GroupDifference(group.column, group.value, len(chosen), found)


def _difference(
    drawn: Sequence[str], chosen: Chosen, current: Figure, candidate: Figure
) -> Difference | None:
    one, other = current(chosen), candidate(chosen)

    def minus(numbers: Chosen) -> float | None:
        before, after = current(chosen[numbers]), candidate(chosen[numbers])
        return None if before is None or after is None else after - before

    if one is None or other is None:
        return None
    bounds = grouped_interval([drawn[number] for number in chosen], minus)
    return None if bounds is None else Difference(len(chosen), one, other, other - one, bounds)

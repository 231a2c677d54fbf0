"""Two models on the same cases: paired differences with 95 % bootstrap intervals.

Of a segmenter the figure is the mean Dice of a case, of a classifier the AUC over cases. What is
drawn for the interval is a group: the patient or study where it is known, else the case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wetread.bundle_components.data import GROUP_COLUMNS
from wetread.models.classification import Classification, area_under_curve
from wetread.models.intervals import Interval, grouped_interval, grouped_mean_interval
from wetread.models.segmentation import Segmentation
from wetread.models.subgroups import Facts, subgroups

Chosen = NDArray[np.intp]
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


class _Figures(Protocol):
    """A figure of both models over the cases of some numbers."""

    def of(self, chosen: Chosen) -> tuple[float, float] | None:
        """Of the current model and of the candidate; None where there is none."""
        ...

    def bounds(self, drawn: Sequence[str], chosen: Chosen) -> Interval | None:
        """The interval of their difference; `drawn` are the groups of the chosen cases."""
        ...


@dataclass(frozen=True, slots=True)
class _Means:
    """Of one number a case."""

    current: NDArray[np.float64]
    candidate: NDArray[np.float64]

    def of(self, chosen: Chosen) -> tuple[float, float] | None:
        if not len(chosen):
            return None
        return float(self.current[chosen].mean()), float(self.candidate[chosen].mean())

    def bounds(self, drawn: Sequence[str], chosen: Chosen) -> Interval | None:
        return grouped_mean_interval(drawn, (self.candidate - self.current)[chosen].tolist())


@dataclass(frozen=True, slots=True)
class _Areas:
    """Under the ROC curve."""

    current: Classification
    candidate: Classification

    def of(self, chosen: Chosen) -> tuple[float, float] | None:
        one, other = (self._area(each, chosen) for each in (self.current, self.candidate))
        return None if one is None or other is None else (one, other)

    def bounds(self, drawn: Sequence[str], chosen: Chosen) -> Interval | None:
        tables = [(each.probabilities, each.labels) for each in (self.current, self.candidate)]

        def difference(numbers: Chosen) -> float | None:
            cases = chosen[numbers]
            one, other = (area_under_curve(found[cases], labels[cases]) for found, labels in tables)
            return None if one is None or other is None else other - one

        return grouped_interval(drawn, difference)

    def _area(self, found: Classification, chosen: Chosen) -> float | None:
        return area_under_curve(found.probabilities[chosen], found.labels[chosen])


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
    every = np.arange(len(pairs))
    labels = list(pairs[0][0].segments) if pairs else []
    by_segment = [
        GroupDifference(
            SEGMENT,
            label,
            len(pairs),
            _difference(
                drawn, every, _means([tuple(c.segments[label].dice for c in p) for p in pairs])
            ),
        )
        for label in (labels if len(labels) > 1 else [])
    ]
    means = _means([tuple(case.mean_dice for case in pair) for pair in pairs])
    return ComparedSet(
        name,
        "Dice",
        tuple(map(PairedCase, names, means.current.tolist(), means.candidate.tolist(), facts)),
        _difference(drawn, every, means),
        (*by_segment, *_by_subgroup(facts, drawn, means)),
    )


def _means(pairs: Sequence[tuple[float, ...]]) -> _Means:
    numbers = np.asarray(pairs, float).reshape(-1, 2)
    return _Means(numbers[:, 0], numbers[:, 1])


def compare_classifications(
    name: str, current: Classification, candidate: Classification
) -> ComparedSet:
    """By the AUC over the same cases in the same order."""
    facts = [case.facts for case in current.cases]
    drawn = [case.group for case in current.cases]
    areas = _Areas(current, candidate)
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
        _difference(drawn, np.arange(len(facts)), areas),
        tuple(_by_subgroup(facts, drawn, areas)),
    )


def _groups_of(names: Sequence[str], facts: Sequence[Facts]) -> list[str]:
    """Of each case its patient or group, if one is known."""
    found = []
    for name, known in zip(names, facts, strict=True):
        lowered: Mapping[str, str] = {key.lower(): value for key, value in known.items()}
        found.append(next((lowered[key] for key in GROUP_COLUMNS if lowered.get(key)), name))
    return found


def _by_subgroup(
    facts: Sequence[Facts], drawn: Sequence[str], figures: _Figures
) -> Iterator[GroupDifference]:
    for group in subgroups(facts):
        chosen = np.array(group.cases, np.intp)
        found = _difference(drawn, chosen, figures)
        yield GroupDifference(group.column, group.value, len(chosen), found)


def _difference(drawn: Sequence[str], chosen: Chosen, figures: _Figures) -> Difference | None:
    both = figures.of(chosen)
    bounds = figures.bounds([drawn[number] for number in chosen], chosen) if both else None
    if both is None or bounds is None:
        return None
    return Difference(len(chosen), *both, both[1] - both[0], bounds)

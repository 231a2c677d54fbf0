"""What the page of an evaluation says of a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wetread.markup import escaped, figures_table
from wetread.models import charts, worst
from wetread.models.classification import Classification, ClassifiedCase, area_under_curve
from wetread.models.intervals import grouped_interval
from wetread.models.page_parts import (
    chart_figure,
    charts_grid,
    interval_text,
    section,
    subgroup_section,
)
from wetread.models.subgroups import subgroups

_WORST = 12
_FACTS = "Further columns of labels.csv, such as sex, age, scanner and view,"
_MEANINGS = {
    "auc": ("AUC", "how often a case of the class has more of its probability than another case"),
    "accuracy": ("accuracy", "how often the likeliest class is right"),
    "balanced_accuracy": ("balanced accuracy", "the same, every class counting alike"),
    "ece": ("ECE", "how far probabilities lie from how often they are right, on average"),
}
STYLE = """
.confusion td{background:color-mix(in srgb,var(--mark) calc(var(--share)*35%),transparent);
padding:6px 14px;border:1px solid var(--line)}.confusion th{padding:6px 14px 6px 0}
"""


def classification_body(
    data: Path, found: Classification, figures: Mapping[str, Any]
) -> Iterator[str]:
    """Figures, confusion matrix, ROC, calibration, subgroups, and the worst cases.

    Raises InputError if the picture of a case cannot be read any more.
    """
    yield section("Figures", _figures_table(figures))
    yield section("Confusion", _confusion(found))
    both = [*_roc_charts(found, figures), _calibration(found, figures)]
    yield section("ROC and calibration", charts_grid(both))
    yield subgroup_section(
        subgroups([case.facts for case in found.cases]),
        ["AUC", "accuracy", "balanced accuracy"],
        lambda chosen: _cells(_of(found, chosen).as_dict()),
        _FACTS,
    )
    poorest = sorted(found.cases, key=lambda case: case.probabilities[case.label])
    yield section(
        "Worst cases",
        "<p>Those whose label got the lowest probability; grey values are stretched.</p>",
        worst.classified_pictures(data, poorest[:_WORST]),
    )
    yield section("Every case that was said wrongly", _wrong_table(poorest))


def _of(found: Classification, chosen: Sequence[int]) -> Classification:
    return replace(found, cases=tuple(found.cases[number] for number in chosen))


def _cells(figures: Mapping[str, Any]) -> list[str]:
    intervals = figures["intervals"]
    keys = ("auc", "accuracy", "balanced_accuracy")
    return [interval_text(figures[key], intervals[key]) for key in keys]


def _figures_table(figures: Mapping[str, Any]) -> str:
    intervals = figures["intervals"]
    rows = [
        (name, interval_text(figures[key], intervals[key]), meaning)
        for key, (name, meaning) in _MEANINGS.items()
    ]
    rows += [
        (f"{key} for {label}", interval_text(value, intervals[key][label]), meaning)
        for key, meaning in (
            ("sensitivity", "of the cases that have it, the share called present"),
            ("specificity", "of the cases that do not, the share not called present"),
        )
        for label, value in figures.get(key, {}).items()
    ]
    return figures_table(["figure", "value", "what it says"], rows)


def _confusion(found: Classification) -> str:
    """Counts, and the shares of each row; the deeper the colour, the larger the share."""
    head = "".join(f'<th scope="col">said {escaped(name)}</th>' for name in found.classes)
    rows = "".join(
        f'<tr><th scope="row">{escaped(name)}</th>{_shares(counts)}</tr>'
        for name, counts in zip(found.classes, found.confusion().tolist(), strict=True)
    )
    return (
        "<p>The likeliest class of each case; rows are the labels, and their shares.</p>"
        '<div class="wide" tabindex="0" role="region" aria-label="confusion matrix">'
        f'<table class="confusion"><thead><tr><th scope="col">label</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _shares(counts: Sequence[int]) -> str:
    total = sum(counts)
    return "".join(
        f'<td style="--share:{count / total if total else 0:.2f}">{count}'
        + (f" ({100 * count / total:.0f} %)</td>" if total else "</td>")
        for count in counts
    )


def _roc_charts(found: Classification, figures: Mapping[str, Any]) -> Iterator[str]:
    """One of each class against the others; of two classes the second alone says all."""
    numbers = [1] if len(found.classes) == 2 else range(len(found.classes))
    for number in numbers:
        name = found.classes[number]
        curve = charts.roc_curve(found.probabilities[:, number], found.labels == number)
        if curve is None:
            yield f"<p>{escaped(name)}: all cases have it or none, so there is no curve.</p>"
            continue
        point = _point(figures, name)
        caption = f"{name}: AUC {_area(found, number)}{_at_point(found, name, point)}"
        yield chart_figure(charts.roc_chart(f"ROC of {name}", curve, point), caption)


def _point(figures: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    sensitivity = figures.get("sensitivity", {}).get(name)
    specificity = figures.get("specificity", {}).get(name)
    return None if sensitivity is None or specificity is None else (1 - specificity, sensitivity)


def _area(found: Classification, number: int) -> str:
    """The AUC of one class against the others."""
    one, labels = found.probabilities[:, number], (found.labels == number).astype(int)
    pair = np.column_stack([1 - one, one])
    bounds = grouped_interval(
        [case.group for case in found.cases],
        lambda chosen: area_under_curve(pair[chosen], labels[chosen]),
    )
    return interval_text(area_under_curve(pair, labels), bounds)


def _at_point(found: Classification, name: str, point: tuple[float, float] | None) -> str:
    if point is None:
        return "."
    return (
        f". The ring is the operating point, present from {100 * found.operating_points[name]:.0f} "
        f"%: sensitivity {point[1]:.3f}, specificity {1 - point[0]:.3f}."
    )


def _calibration(found: Classification, figures: Mapping[str, Any]) -> str:
    bins = charts.calibration_bins(found.probabilities, found.labels)
    caption = (
        f"Calibration: ECE {interval_text(figures['ece'], figures['intervals']['ece'])}. On the "
        "diagonal, probabilities are as often right as they say; below it the model is too sure "
        "of itself. The numbers above the axis are cases."
    )
    return chart_figure(charts.calibration_chart("Reliability diagram", bins), caption)


def _wrong_table(poorest: Sequence[ClassifiedCase]) -> str:
    wrong = [case for case in poorest if case.said != case.label]
    if not wrong:
        return "<p>None.</p>"
    classes = list(wrong[0].probabilities)
    rows = [
        (
            case.file,
            case.label,
            case.said,
            *(f"{value:.3f}" for value in case.probabilities.values()),
        )
        for case in wrong
    ]
    return figures_table(["case", "label", "said", *classes], rows)

"""What the page of an evaluation says of a segmenter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wetread.infer.bundle import BundleModel
from wetread.markup import figures_table
from wetread.models import charts, worst
from wetread.models.page_parts import (
    DASH,
    chart_figure,
    charts_grid,
    interval_text,
    section,
    signed_text,
    subgroup_section,
)
from wetread.models.segmentation import CaseScore, Segmentation, cases_in
from wetread.models.subgroups import case_facts, subgroups

_WORST = 4
_NOTE = (
    "<p>HD95 is the 95th percentile of the distances between the surfaces. Volume error is "
    "result − label.</p>"
)
_FACTS = "a cases.csv with the column file, and others such as sex, age and scanner"


def segmentation_body(
    model: BundleModel,
    data: Path,
    split: str | None,
    found: Segmentation,
    figures: Mapping[str, Any],
) -> Iterator[str]:
    """Figures, charts by case, volumes, subgroups, worst cases and the table of all cases.

    Raises InputError for a cases.csv that cannot be read, and as `BundleModel.read`.
    """
    poorest = sorted(found.cases, key=lambda case: case.mean_dice)
    groups = subgroups(case_facts(data, [case.case for case in found.cases]))
    cases = {Path(case["image"]).name: case for case in cases_in(data, split)}
    yield section("Figures", _segment_table(figures))
    yield section("Case by case", charts_grid(_case_charts(found, figures)))
    yield section("Volume", charts_grid(_volume_charts(found)))
    yield subgroup_section(
        groups,
        ["Dice", "IoU", "HD95, mm"],
        lambda chosen: _mean_cells(_of(found, chosen).as_dict()),
        _FACTS,
    )
    pictures = (
        worst.segmentation_pictures(model, cases[each.case], each) for each in poorest[:_WORST]
    )
    yield section("Worst cases", worst.LEGEND, *pictures)
    yield section("Every case, the worst first", _case_table(poorest))


def _of(found: Segmentation, chosen: Sequence[int]) -> Segmentation:
    return replace(found, cases=tuple(found.cases[number] for number in chosen))


def _segment_table(figures: Mapping[str, Any]) -> str:
    intervals = figures["intervals"]
    keys = (("dice", 3), ("iou", 3), ("hd95_mm", 2), ("volume_error_ml", 3))
    rows = [
        (
            label,
            *(
                interval_text(figures[key][label], intervals[key][label], digits)
                for key, digits in keys
            ),
        )
        for label in figures["dice"]
    ]
    columns = ["segment", "Dice", "IoU", "HD95, mm", "volume error, mL"]
    return figures_table(columns, [*rows, ("mean", *_mean_cells(figures), "")]) + _NOTE


def _mean_cells(figures: Mapping[str, Any]) -> list[str]:
    intervals = figures["intervals"]
    return [
        interval_text(figures[key], intervals[key], digits)
        for key, digits in (("mean_dice", 3), ("mean_iou", 3), ("mean_hd95_mm", 2))
    ]


def _case_charts(found: Segmentation, figures: Mapping[str, Any]) -> Iterator[str]:
    for key, title in (("dice", "Dice"), ("iou", "IoU"), ("hd95_mm", "HD95, mm")):
        rows = [
            charts.DotRow(
                label,
                {
                    case.case: value
                    for case in found.cases
                    if (value := getattr(case.segments[label], key)) is not None
                },
                figures[key][label],
                figures["intervals"][key][label],
            )
            for label in figures[key]
        ]
        caption = f"{title}: a dot is a case, the cross is the mean with its 95 % interval."
        yield chart_figure(
            charts.dot_chart(f"{title} of every case by segment", title, rows), caption
        )


def _volume_charts(found: Segmentation) -> Iterator[str]:
    names = [case.case for case in found.cases]
    for label in found.cases[0].segments:
        scores = [case.segments[label] for case in found.cases]
        agreement = charts.agreement_of(
            np.array([score.volume_ml for score in scores]),
            np.array([score.reference_ml for score in scores]),
        )
        low, high = agreement.limits
        caption = (
            f"{label}: result − label is {signed_text(agreement.bias)} mL on average; 95 % of "
            f"cases are expected between {signed_text(low)} and {signed_text(high)} mL (dashed)."
        )
        chart = charts.agreement_chart(f"Volume of {label}: agreement", agreement, names, "mL")
        yield chart_figure(chart, caption)


def _case_table(cases: Sequence[CaseScore]) -> str:
    rows = [
        (
            case.case,
            label,
            f"{score.dice:.3f}",
            f"{score.iou:.3f}",
            DASH if score.hd95_mm is None else f"{score.hd95_mm:.2f}",
            f"{score.volume_ml:.3f}",
            signed_text(score.volume_ml - score.reference_ml),
        )
        for case in cases
        for label, score in case.segments.items()
    ]
    columns = ["case", "segment", "Dice", "IoU", "HD95, mm", "volume, mL", "result − label, mL"]
    return figures_table(columns, rows)

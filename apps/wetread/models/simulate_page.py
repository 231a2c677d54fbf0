"""The figure and the page of a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from wetread.files import write_atomically
from wetread.markup import PALETTE, document, escaped, facts_table, figures_table
from wetread.models import charts, page_parts
from wetread.models.page_parts import chart_figure, charts_grid, section
from wetread.models.simulate_summary import REFERENCE, StrategyCurve, table_cells

_TITLE = "Dice against the number of annotations"
# Of the figure: charts in a row, and their size with the name above.
_ACROSS, _WIDTH, _HEIGHT, _NAME = 3, 320, 300, 22
_ROW_HEIGHT, _AROUND = 56, 54
_LINE = 20
_FONTS = (
    ".chart{max-width:none}.legend{font:14px system-ui,sans-serif;fill:var(--text)}"
    ".name{font:600 14px system-ui,sans-serif;fill:var(--text);text-anchor:middle}"
)
_LEGEND = (
    "Blue: the strategy. Dashed: random choice. Bands: 95 % intervals of the mean over seeds.",
    "Gain: the mean height of a curve less that of random choice with the same seed. A dot is a",
    "seed, the cross their mean with its 95 % interval; right of the dashed line is better.",
)
_NOTE = (
    "<p>Each strategy starts, seed by seed, with the same images and the same network. Mean is the "
    "mean height of the curve, from the first number of annotations to the last. ± and the bands "
    "are 95 % intervals of the mean over seeds by Student's t; differences to random choice are "
    "taken within each seed. They say how far the luck of the start reaches; other images, another "
    "network or another training may rank the strategies otherwise. The more strategies one "
    "compares, the likelier one of them differs by chance alone.</p>"
)


def write_simulation_page(
    path: Path,
    curves: Sequence[StrategyCurve],
    settings: Mapping[str, Any],
    created_at: datetime,
) -> None:
    """Write the page; it needs no network and no script. Raises StorageError."""
    title = f"{_TITLE}: {settings['bundle']}"
    rows = [
        (key.replace("_", " "), str(value)) for key, value in settings.items() if value is not None
    ]
    facts = facts_table(
        [*rows, ("seeds", str(curves[0].seeds)), ("date", created_at.strftime("%Y-%m-%d"))]
    )
    heads, cells = table_cells(curves)
    body = [
        f"<h1>{escaped(title)}</h1>{_NOTE}",
        section("Mean Dice of the test cases", figures_table(heads, cells)),
        section("Curves", charts_grid(_figures(curves))),
        section("What was simulated", facts),
    ]
    text = document(title, body, page_parts.STYLE + charts.STYLE)
    write_atomically(path, [text.encode("utf-8")])


def simulation_svg(curves: Sequence[StrategyCurve]) -> str:
    """The charts as one picture that needs no page: every strategy beside random choice."""
    drawn = [(curve.strategy, chart, _HEIGHT) for curve, chart in _curve_charts(curves)]
    gain = _gain_chart(curves)
    if gain is not None:
        rows = sum(curve.area_difference is not None for curve in curves)
        drawn.append(("gain over random", gain, _ROW_HEIGHT * rows + _AROUND))
    parts, bottom = _placed(drawn)
    for line in _LEGEND if gain is not None else _LEGEND[:1]:
        bottom += _LINE
        parts.append(f'<text x="48" y="{bottom}" class="legend">{line}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_ACROSS * _WIDTH} {bottom + 10}" '
        f'role="img" aria-label="{_TITLE}"><style>{PALETTE}{charts.STYLE}{_FONTS}</style>'
        f'<rect width="100%" height="100%" fill="var(--back)"/>{"".join(parts)}</svg>\n'
    )


def _placed(drawn: Sequence[tuple[str, str, int]]) -> tuple[list[str], int]:
    """Charts with their names in rows, each of a height; and how high all are together."""
    parts, top, bottom = [], 0, 0
    for number, (name, chart, height) in enumerate(drawn):
        left = number % _ACROSS * _WIDTH
        top = bottom if not left else top
        bottom = max(bottom, top + height + _NAME)
        parts.append(
            f'<text x="{left + _WIDTH / 2}" y="{top + 16}" class="name">{escaped(name)}</text>'
            f'<svg x="{left}" y="{top + _NAME}" width="{_WIDTH}" height="{height}">{chart}</svg>'
        )
    return parts, bottom


def _figures(curves: Sequence[StrategyCurve]) -> list[str]:
    found = [
        chart_figure(chart, f"{curve.strategy}; dashed: {REFERENCE}")
        for curve, chart in _curve_charts(curves)
    ]
    gain = _gain_chart(curves)
    caption = (
        "Gain over random: the mean height of the curve less that of random choice. A dot is a "
        "seed, the cross the mean with its interval."
    )
    return found if gain is None else [*found, chart_figure(gain, caption)]


def _curve_charts(curves: Sequence[StrategyCurve]) -> list[tuple[StrategyCurve, str]]:
    """One for each strategy but random, if it has any other; on the same axes."""
    drawn = {curve.strategy: _drawn(curve) for curve in curves}
    other = drawn.get(REFERENCE)
    ends = [end for each in drawn.values() for pair in each.bounds for end in pair]
    across = curves[0].annotations
    axes = (
        charts.Axis("annotations", across[0], max(across[-1], across[0] + 1), across),
        charts.axis_over("Dice", ends),
    )
    shown = [each for each in curves if each.strategy != REFERENCE] or list(curves)
    return [
        (
            each,
            charts.curve_chart(
                f"Dice of {each.strategy}",
                axes,
                drawn[each.strategy],
                None if each.strategy == REFERENCE else other,
            ),
        )
        for each in shown
    ]


def _drawn(curve: StrategyCurve) -> charts.Curve:
    heights = [each.mean for each in curve.dice]
    bounds = [each.bounds or (each.mean, each.mean) for each in curve.dice]
    return charts.Curve(curve.annotations, heights, bounds)


def _gain_chart(curves: Sequence[StrategyCurve]) -> str | None:
    rows = [
        charts.DotRow(
            curve.strategy,
            {f"seed {seed}": value for seed, value in enumerate(curve.area_differences)},
            curve.area_difference.mean,
            curve.area_difference.bounds,
        )
        for curve in curves
        if curve.area_difference is not None
    ]
    if not rows:
        return None
    return charts.dot_chart("Gain over random choice", "Dice", rows, guide=0.0)

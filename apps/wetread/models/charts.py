"""Charts as SVG within a page: they take its colours, and need neither a script nor a library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetread.bundle_components.classification import ECE_BINS
from wetread.markup import escaped

Floats = NDArray[np.float64]
# Pixels of every chart, and what its axes leave around the drawing.
_WIDTH, _HEIGHT = 320, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 10, 44
_ROW = 56
_SPREAD = (0, -5, 5, -10, 10)
# Of a normal distribution 95 % lie so many standard deviations around the mean.
_LIMITS = 1.96

STYLE = """
.chart{display:block;width:100%;max-width:420px;height:auto}
.chart text{font:12px system-ui,sans-serif;fill:var(--muted)}.chart .value{fill:var(--text);
paint-order:stroke;stroke:var(--back);stroke-width:3px}
.chart .frame{fill:none;stroke:var(--line)}.chart .grid{stroke:var(--line);stroke-width:.5}
.chart .guide{fill:none;stroke:var(--muted);stroke-dasharray:4 4}
.chart .curve{fill:none;stroke:var(--mark);stroke-width:2.5;stroke-linejoin:round}
.chart .dot{fill:var(--mark);fill-opacity:.55}.chart .fill{fill:var(--mark);fill-opacity:.65}
.chart .point{fill:var(--back);stroke:var(--second);stroke-width:2.5}
.chart .mean{stroke:var(--second);stroke-width:2.5}
.chart .band{fill:var(--mark);fill-opacity:.2}.chart .other{fill:var(--muted);fill-opacity:.2}
"""


@dataclass(frozen=True, slots=True)
class RocCurve:
    """The curve from (0, 0) to (1, 1): the two shares from each threshold on, equal ones at once.

    `false_positive` is 1 − specificity, `true_positive` sensitivity.
    """

    false_positive: Floats
    true_positive: Floats


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The cases whose highest probability lies in one bin. The means are None without cases."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def roc_curve(scores: Floats, present: NDArray[np.bool_]) -> RocCurve | None:
    """The curve of one class; None if all cases, or none, have it."""
    if present.all() or not present.any():
        return None
    order = np.argsort(-scores, kind="stable")
    values, truth = scores[order], present[order]
    # A threshold can only lie where the score changes.
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    shares = (np.cumsum(each)[last] / each.sum() for each in (~truth, truth))
    false_positive, true_positive = (np.insert(each, 0, 0.0) for each in shares)
    return RocCurve(false_positive, true_positive)


def calibration_bins(probabilities: Floats, labels: NDArray[np.int64]) -> list[CalibrationBin]:
    """The bins over which `expected_calibration_error` is the mean; (case, class) probabilities."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    places = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    bins = []
    for number in range(ECE_BINS):
        inside = places == number
        means = [
            float(each[inside].mean()) if inside.any() else None for each in (confidence, correct)
        ]
        bins.append(
            CalibrationBin(number / ECE_BINS, (number + 1) / ECE_BINS, int(inside.sum()), *means)
        )
    return bins


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis covers, where it has ticks, and what stands beside it."""

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1 within the axis."""
        return (value - self.low) / (self.high - self.low)


SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def axis_over(title: str, values: Iterable[float]) -> Axis:
    """An axis over all the values, from tick to tick, with 3 to 7 ticks at round numbers."""
    numbers = list(values) or [0.0, 1.0]
    low, high = min(numbers), max(numbers)
    if high == low:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(number * step, 10) for number in range(first, last + 1))
    return Axis(title, ticks[0], ticks[-1], ticks)


def _round_step(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= least * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie in pixels."""

    across: Axis
    up: Axis
    height: int = _HEIGHT

    def x(self, value: float) -> float:
        return round(_LEFT + self.across.share(value) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        bottom = self.height - _BOTTOM
        return round(bottom - self.up.share(value) * (bottom - _TOP), 1)

    def line(self, kind: str, points: Iterable[tuple[float, float]]) -> str:
        path = " ".join(f"{self.x(across)},{self.y(up)}" for across, up in points)
        return f'<polyline class="{kind}" points="{path}"/>'

    def axes(self) -> str:
        """The frame, ticks of both axes and their titles."""
        bottom, middle = self.height - _BOTTOM, (_TOP + self.height - _BOTTOM) / 2
        return "".join(
            [
                *(self._tick_below(tick) for tick in self.across.ticks),
                *(self._tick_beside(tick) for tick in self.up.ticks),
                f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
                f'height="{bottom - _TOP}"/>',
                f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{self.height - 8}" '
                f'text-anchor="middle">{escaped(self.across.title)}</text>',
                f'<text x="12" y="{middle}" text-anchor="middle" '
                f'transform="rotate(-90 12 {middle})">{escaped(self.up.title)}</text>',
            ]
        )

    def _tick_below(self, tick: float) -> str:
        place, bottom = self.x(tick), self.height - _BOTTOM
        return (
            f'<line class="grid" x1="{place}" x2="{place}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text x="{place}" y="{bottom + 16}" text-anchor="middle">{_number(tick)}</text>'
        )

    def _tick_beside(self, tick: float) -> str:
        place = self.y(tick)
        return (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place}" y2="{place}"/>'
            f'<text x="{_LEFT - 5}" y="{place + 4}" text-anchor="end">{_number(tick)}</text>'
        )


def _number(tick: float) -> str:
    return f"{tick:g}".replace("-", "−")


def _svg(label: str, height: int, parts: Iterable[str]) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{escaped(label)}" '
        f'viewBox="0 0 {_WIDTH} {height}">{"".join(parts)}</svg>'
    )


def roc_chart(label: str, curve: RocCurve, point: tuple[float, float] | None) -> str:
    """The curve; `point` is (1 − specificity, sensitivity) at the operating point."""
    frame = _Frame(Axis("1 − specificity", 0.0, 1.0, SHARES), Axis("sensitivity", 0.0, 1.0, SHARES))
    corners = zip(curve.false_positive.tolist(), curve.true_positive.tolist(), strict=True)
    marked = ""
    if point is not None:
        marked = f'<circle class="point" cx="{frame.x(point[0])}" cy="{frame.y(point[1])}" r="5"/>'
    diagonal = frame.line("guide", [(0, 0), (1, 1)])
    return _svg(label, _HEIGHT, [frame.axes(), diagonal, frame.line("curve", corners), marked])


def calibration_chart(label: str, bins: Sequence[CalibrationBin]) -> str:
    """Accuracy against mean probability of each bin, and its number of cases above the axis."""
    frame = _Frame(
        Axis("highest probability", 0.0, 1.0, SHARES), Axis("share that is right", 0.0, 1.0, SHARES)
    )
    filled = [each for each in bins if each.count]
    points = [(each.confidence or 0.0, each.accuracy or 0.0) for each in filled]
    circles = "".join(
        f'<circle class="point" cx="{frame.x(across)}" cy="{frame.y(up)}" r="4.5"/>'
        for across, up in points
    )
    counts = "".join(
        f'<text class="value" x="{frame.x((each.low + each.high) / 2)}" y="{frame.y(0.02)}" '
        f'text-anchor="middle">{each.count}</text>'
        for each in filled
    )
    diagonal = frame.line("guide", [(0, 0), (1, 1)])
    return _svg(
        label, _HEIGHT, [frame.axes(), diagonal, frame.line("curve", points), circles, counts]
    )


@dataclass(frozen=True, slots=True)
class DotRow:
    """One row of dots: each case by its name, and the mean with the bounds of its interval."""

    label: str
    values: Mapping[str, float]
    mean: float | None
    bounds: tuple[float, float] | None


def dot_chart(label: str, title: str, rows: Sequence[DotRow], *, guide: float | None = None) -> str:
    """Every case of each row as a dot on one axis, the mean and its interval in a second colour.

    `guide` is a value to compare with, a dashed line.
    """
    height = _TOP + _BOTTOM + _ROW * len(rows)
    values = [value for row in rows for value in (*row.values.values(), *(row.bounds or ()))]
    lines = [] if guide is None else [guide]
    frame = _Frame(axis_over(title, [*values, *lines]), Axis("", 0.0, 1.0, ()), height)
    guides = [frame.line("guide", [(line, 0.0), (line, 1.0)]) for line in lines]
    drawn = [_dots(frame, row, _TOP + _ROW * number) for number, row in enumerate(rows)]
    return _svg(label, height, [frame.axes(), *guides, *drawn])


def _dots(frame: _Frame, row: DotRow, top: int) -> str:
    middle = top + 36
    ordered = sorted(row.values.items(), key=lambda each: each[1])
    parts = [f'<text class="value" x="{_LEFT + 5}" y="{top + 16}">{escaped(row.label)}</text>']
    parts += [
        f'<circle class="dot" cx="{frame.x(value)}" cy="{middle + _SPREAD[number % 5]}" r="3">'
        f"<title>{escaped(name)}: {value:.3g}</title></circle>"
        for number, (name, value) in enumerate(ordered)
    ]
    if row.mean is not None and row.bounds is not None:
        low, high, mean = (frame.x(each) for each in (*row.bounds, row.mean))
        parts.append(
            f'<line class="mean" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
            f'<line class="mean" x1="{mean}" x2="{mean}" y1="{middle - 12}" y2="{middle + 12}"/>'
        )
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two measurements of the same things, as Bland and Altman (Lancet 1986;1:307) compare them.

    `bias` is the mean difference; between the `limits` 95 % of differences are expected.
    """

    means: Floats
    differences: Floats
    bias: float
    limits: tuple[float, float]


def agreement_of(found: Floats, reference: Floats) -> Agreement:
    """Differences are found − reference. The limits are those of two cases or more."""
    differences = found - reference
    bias = float(differences.mean())
    spread = _LIMITS * float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return Agreement((found + reference) / 2, differences, bias, (bias - spread, bias + spread))


def agreement_chart(label: str, agreement: Agreement, names: Sequence[str], unit: str) -> str:
    """Difference against mean of each case; the bias and its limits as lines."""
    low, high = agreement.limits
    frame = _Frame(
        axis_over(f"mean of label and result, {unit}", agreement.means.tolist()),
        axis_over(f"result − label, {unit}", [*agreement.differences.tolist(), low, high, 0.0]),
    )
    ends = frame.across.low, frame.across.high
    lines = [frame.line("guide", [(end, level) for end in ends]) for level in (low, high)]
    bias = frame.line("mean", [(end, agreement.bias) for end in ends])
    dots = "".join(
        f'<circle class="dot" cx="{frame.x(across)}" cy="{frame.y(up)}" r="3">'
        f"<title>{escaped(name)}: {up:+.3g} {escaped(unit)}</title></circle>"
        for name, across, up in zip(
            names, agreement.means.tolist(), agreement.differences.tolist(), strict=True
        )
    )
    return _svg(label, _HEIGHT, [frame.axes(), *lines, bias, dots])


@dataclass(frozen=True, slots=True)
class Curve:
    """Heights at places along an axis, each with the bounds of its interval."""

    across: Sequence[float]
    heights: Sequence[float]
    bounds: Sequence[tuple[float, float]]


def curve_chart(label: str, axes: tuple[Axis, Axis], curve: Curve, other: Curve | None) -> str:
    """A curve with its interval as a band, and another to compare with, dashed and grey."""
    frame = _Frame(*axes)
    parts = [frame.axes()]
    for each, line, band in ((other, "guide", "other"), (curve, "curve", "band")):
        if each is not None:
            parts += [_band(frame, band, each), frame.line(line, _along(each, each.heights))]
    return _svg(label, _HEIGHT, parts)


def _along(curve: Curve, heights: Iterable[float]) -> list[tuple[float, float]]:
    return list(zip(curve.across, heights, strict=True))


def _band(frame: _Frame, kind: str, curve: Curve) -> str:
    lower = _along(curve, [low for low, _ in curve.bounds])
    upper = _along(curve, [high for _, high in curve.bounds])
    path = " ".join(f"{frame.x(across)},{frame.y(up)}" for across, up in [*lower, *upper[::-1]])
    return f'<polygon class="{kind}" points="{path}"/>'

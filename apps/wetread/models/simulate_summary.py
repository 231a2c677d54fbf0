"""What a simulation came to: means over seeds with intervals, and differences to random choice."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.models.intervals import Interval, student_interval
from wetread.models.page_parts import DASH, signed_text
from wetread.models.simulate import Round

REFERENCE = "random"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, and the bounds of its 95 % interval by Student's t; None of one seed."""

    mean: float
    bounds: Interval | None

    @property
    def text(self) -> str:
        """0.712 ± 0.020."""
        return f"{self.mean:.3f}{self._half}"

    @property
    def signed(self) -> str:
        """+0.012 ± 0.020."""
        return f"{signed_text(self.mean)}{self._half}"

    @property
    def _half(self) -> str:
        return "" if self.bounds is None else f" ± {self.bounds[1] - self.mean:.3f}"


@dataclass(frozen=True, slots=True)
class StrategyCurve:
    """One strategy: mean test Dice by number of annotations.

    `area` is the mean height of the curve, by trapezoids from the first number to the last; `areas`
    are those of the seeds. `differences` and `area_difference` are to random choice with the same
    seed; None if that was not played.
    """

    strategy: str
    seeds: int
    annotations: tuple[int, ...]
    dice: tuple[Estimate, ...]
    area: Estimate
    areas: tuple[float, ...]
    seconds: float
    differences: tuple[Estimate, ...] | None
    area_difference: Estimate | None
    area_differences: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: each estimate as its mean and its bounds."""
        return {
            "strategy": self.strategy,
            "seeds": self.seeds,
            "annotations": list(self.annotations),
            "dice": [_plain(each) for each in self.dice],
            "area": _plain(self.area),
            "seconds_per_round": self.seconds,
            "difference_to_random": (
                None if self.differences is None else [_plain(each) for each in self.differences]
            ),
            "area_difference_to_random": (
                None if self.area_difference is None else _plain(self.area_difference)
            ),
        }


def curves_of(rounds: Sequence[Round]) -> list[StrategyCurve]:
    """One curve for each strategy, in the order in which they come first."""
    tables = {
        name: _table(rounds, name) for name in dict.fromkeys(each.strategy for each in rounds)
    }
    reference = tables.get(REFERENCE)
    return [_curve(rounds, name, table, reference) for name, table in tables.items()]


def _table(rounds: Sequence[Round], strategy: str) -> NDArray[np.float64]:
    """(seed, round) Dice."""
    own = [each for each in rounds if each.strategy == strategy]
    found = np.full((max(e.seed for e in own) + 1, max(e.number for e in own) + 1), np.nan)
    for each in own:
        found[each.seed, each.number] = each.dice
    return found


def _curve(
    rounds: Sequence[Round],
    strategy: str,
    table: NDArray[np.float64],
    reference: NDArray[np.float64] | None,
) -> StrategyCurve:
    own = [each for each in rounds if each.strategy == strategy]
    annotations = tuple(len(each.labelled) for each in own if each.seed == own[0].seed)
    areas = _areas(table, annotations)
    others = None if strategy == REFERENCE or reference is None else reference
    gained = None if others is None else table - others
    area_gained = None if others is None else areas - _areas(others, annotations)
    return StrategyCurve(
        strategy,
        len(table),
        annotations,
        tuple(_estimate(column) for column in table.T),
        _estimate(areas),
        tuple(areas.tolist()),
        float(np.mean([each.seconds for each in own])),
        None if gained is None else tuple(_estimate(column) for column in gained.T),
        None if area_gained is None else _estimate(area_gained),
        () if area_gained is None else tuple(area_gained.tolist()),
    )


def _areas(table: NDArray[np.float64], annotations: Sequence[int]) -> NDArray[np.float64]:
    """Of each seed; the Dice itself where there is one round."""
    if len(annotations) == 1:
        return table[:, 0]
    areas = np.asarray(np.trapezoid(table, annotations, axis=1))
    return areas / (annotations[-1] - annotations[0])


def _estimate(values: NDArray[np.float64]) -> Estimate:
    return Estimate(float(values.mean()), student_interval(values.tolist()))


def _plain(each: Estimate) -> dict[str, Any]:
    return {"mean": each.mean, "interval": each.bounds}


def curves_csv(rounds: Sequence[Round]) -> str:
    """One line for each round."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["strategy", "seed", "annotations", "dice", "seconds"])
    for each in rounds:
        row = (each.strategy, each.seed, len(each.labelled), f"{each.dice:.6f}")
        writer.writerow([*row, f"{each.seconds:.1f}"])
    return buffer.getvalue()


def table_cells(curves: Sequence[StrategyCurve]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows for a reader: Dice by number of annotations, the mean of it, and the gain."""
    heads = ["strategy", *map(str, curves[0].annotations), "mean", "mean − random"]
    rows = [
        [
            curve.strategy,
            *(each.text for each in curve.dice),
            curve.area.text,
            DASH if curve.area_difference is None else curve.area_difference.signed,
        ]
        for curve in curves
    ]
    return heads, rows


def curves_table(curves: Sequence[StrategyCurve]) -> str:
    """The same as a Markdown table."""
    heads, rows = table_cells(curves)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def summary_of(curves: Sequence[StrategyCurve], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All of it for JSON."""
    return {"settings": dict(settings), "strategies": [curve.as_dict() for curve in curves]}

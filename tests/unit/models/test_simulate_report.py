"""Means, paired differences and areas by arithmetic; the files that hold them, and the figure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from wetread.bundle_components.acquisition import Choice
from wetread.models.simulate import SETTINGS, Round
from wetread.models.simulate_page import simulation_svg, write_simulation_page
from wetread.models.simulate_report import write_report
from wetread.models.simulate_summary import (
    StrategyCurve,
    curves_csv,
    curves_of,
    curves_table,
    summary_of,
)

# Dice of each seed, by round; random first.
RANDOM = [[0.5, 0.6, 0.8], [0.3, 0.6, 0.6]]
FLIPS = [[0.5, 0.7, 0.8], [0.3, 0.9, 0.6]]
SETTINGS_KEPT = {"bundle": "<b>hippocampus</b>", "steps": 80, "filters": None}


def rounds_of(strategy: str, table: Sequence[Sequence[float]]) -> list[Round]:
    """4, 6 and 12 annotations; 2 seconds each."""
    return [
        Round(strategy, seed, number, ("x",) * count, dice, {"t": dice}, 2.0, (Choice("y", 1, ""),))
        for seed, row in enumerate(table)
        for number, (count, dice) in enumerate(zip((4, 6, 12), row, strict=False))
    ]


@pytest.fixture
def rounds() -> list[Round]:
    return [*rounds_of("random", RANDOM), *rounds_of("flips", FLIPS)]


@pytest.fixture
def curves(rounds: list[Round]) -> list[StrategyCurve]:
    return curves_of(rounds)


def test_each_point_is_the_mean_over_seeds(curves: list[StrategyCurve]) -> None:
    random, flips = curves
    assert random.annotations == (4, 6, 12)
    assert [each.mean for each in random.dice] == pytest.approx([0.4, 0.6, 0.7])
    assert [each.mean for each in flips.dice] == pytest.approx([0.4, 0.8, 0.7])
    assert (random.seeds, random.seconds) == (2, 2.0)


def test_the_interval_is_of_the_seeds(curves: list[StrategyCurve]) -> None:
    """0.5 and 0.3: standard deviation 0.1414, t of one degree of freedom 12.706."""
    assert curves[0].dice[0].bounds == pytest.approx((0.4 - 1.2706, 0.4 + 1.2706), abs=1e-4)


def test_the_area_is_the_mean_height(curves: list[StrategyCurve]) -> None:
    """Seed 0: (2 · 0.55 + 6 · 0.7) / 8; seed 1: (2 · 0.45 + 6 · 0.6) / 8."""
    assert curves[0].areas == pytest.approx((5.3 / 8, 4.5 / 8))
    assert curves[0].area.mean == pytest.approx(4.9 / 8)


def test_differences_are_taken_within_a_seed(curves: list[StrategyCurve]) -> None:
    """At 6 annotations 0.1 and 0.3; at the others none, whatever the seeds differ by."""
    random, flips = curves
    assert random.differences is None
    assert random.area_difference is None
    assert flips.differences is not None
    assert [each.mean for each in flips.differences] == pytest.approx([0, 0.2, 0])
    assert flips.differences[0].bounds == pytest.approx((0, 0))
    assert flips.area_differences == pytest.approx((0.05, 0.15))
    assert flips.area_difference is not None
    assert flips.area_difference.mean == pytest.approx(0.1)


def test_without_random_choice_there_is_nothing_to_compare_with() -> None:
    [flips] = curves_of(rounds_of("flips", FLIPS))
    assert (flips.differences, flips.area_difference, flips.area_differences) == (None, None, ())
    assert "| flips | " in curves_table([flips])


def test_one_seed_and_one_round_have_neither_interval_nor_slope() -> None:
    [curve] = curves_of(rounds_of("random", [[0.5]]))
    assert curve.area.mean == 0.5
    assert curve.dice[0].bounds is None
    assert curves_table([curve]).splitlines()[-1] == "| random | 0.500 | 0.500 | – |"


def test_the_table_for_a_page(curves: list[StrategyCurve]) -> None:
    head, rule, random, flips = curves_table(curves).splitlines()
    assert head == "| strategy | 4 | 6 | 12 | mean | mean − random |"
    assert rule == "| --- | --- | --- | --- | --- | --- |"
    assert random.startswith("| random | 0.400 ± 1.271 | 0.600 ± 0.000 | 0.700 ± 1.271 |")
    assert random.endswith("| – |")
    assert flips.endswith("| +0.100 ± 0.635 |")


def test_every_round_is_a_line(rounds: list[Round]) -> None:
    rows = list(csv.DictReader(io.StringIO(curves_csv(rounds))))
    assert len(rows) == 12
    assert rows[1] == {
        "strategy": "random",
        "seed": "0",
        "annotations": "6",
        "dice": "0.600000",
        "seconds": "2.0",
    }


def test_the_summary_is_json(curves: list[StrategyCurve]) -> None:
    found = json.loads(json.dumps(summary_of(curves, SETTINGS_KEPT)))
    assert found["settings"]["steps"] == 80
    random, flips = found["strategies"]
    assert random["difference_to_random"] is None
    assert flips["annotations"] == [4, 6, 12]
    assert flips["difference_to_random"][1]["mean"] == pytest.approx(0.2)
    assert len(flips["area_difference_to_random"]["interval"]) == 2


def test_the_figure_has_a_chart_for_each_strategy_beside_random(
    rounds: list[Round],
) -> None:
    """Four others make two rows of three, the last of them the gains; one picture, no page."""
    others = [each for name in ("flips", "a", "b", "c") for each in rounds_of(name, FLIPS)]
    drawn = simulation_svg(curves_of([*rounds[:6], *others]))
    root = ElementTree.fromstring(drawn)  # noqa: S314
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    names = [each.text for each in root.iter(f"{space}text") if each.get("class") == "name"]
    assert names == ["flips", "a", "b", "c", "gain over random"]
    placed = [(each.get("x"), each.get("y")) for each in root.findall(f"{space}svg")]
    assert placed[:3] == [("0", "22"), ("320", "22"), ("640", "22")]
    assert placed[3:] == [("0", "344"), ("320", "344")]
    assert drawn.count('class="curve"') == 4
    assert drawn.count('class="other"') == 4
    assert ":root{" in drawn
    assert "Dashed: random choice" in drawn


def test_random_choice_alone_is_drawn_as_itself() -> None:
    drawn = simulation_svg(curves_of(rounds_of("random", RANDOM)))
    assert drawn.count('class="curve"') == 1
    assert 'class="other"' not in drawn


def test_the_page_has_the_table_the_charts_and_the_settings(
    curves: list[StrategyCurve], tmp_path: Path
) -> None:
    path = tmp_path / "curves.html"
    write_simulation_page(path, curves, SETTINGS_KEPT, datetime(2026, 1, 2, tzinfo=UTC))
    text = path.read_text(encoding="utf-8")
    assert "+0.100 ± 0.635" in text
    assert text.count("<figure>") == 2
    assert "2026-01-02" in text
    assert "filters" not in text
    assert "<b>" not in text
    assert not re.search(r"https?://(?!www\.w3\.org)|<script", text)


def test_all_files_are_written_and_the_table_is_given_back(
    rounds: list[Round], tmp_path: Path
) -> None:
    (tmp_path / SETTINGS).write_text(json.dumps(SETTINGS_KEPT), encoding="utf-8")
    table = write_report(tmp_path, rounds)
    names = {path.name for path in tmp_path.iterdir()} - {SETTINGS}
    assert names == {f"curves.{kind}" for kind in ("csv", "json", "md", "svg", "html")}
    assert (tmp_path / "curves.md").read_text(encoding="utf-8") == table

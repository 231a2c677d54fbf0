"""ROC points, bins, ticks and limits by arithmetic; what is drawn lies where it must."""

from __future__ import annotations

import re

import numpy as np
import pytest

from wetread.bundle_components.classification import expected_calibration_error
from wetread.models.charts import (
    Axis,
    Curve,
    DotRow,
    agreement_chart,
    agreement_of,
    axis_over,
    calibration_bins,
    calibration_chart,
    curve_chart,
    dot_chart,
    roc_chart,
    roc_curve,
)
from wetread.models.classification import area_under_curve

TRUTH = np.array([1, 1, 0, 1, 0, 0], bool)


def test_the_curve_steps_up_for_each_ill_and_right_for_each_well_case() -> None:
    curve = roc_curve(np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), TRUTH)
    assert curve is not None
    assert curve.true_positive == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1])
    assert curve.false_positive == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1])


def test_equal_scores_are_one_step() -> None:
    """A threshold cannot lie between them, so the curve goes straight through."""
    curve = roc_curve(np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1]), TRUTH)
    assert curve is not None
    assert curve.true_positive == pytest.approx([0, 1 / 3, 1, 1])
    assert curve.false_positive == pytest.approx([0, 0, 2 / 3, 1])


def test_the_area_under_the_curve_is_the_auc() -> None:
    random = np.random.default_rng(3)
    truth = random.random(60) < 0.4
    scores = np.round(random.random(60) + 0.4 * truth, 1)
    curve = roc_curve(scores, truth)
    assert curve is not None
    area = np.trapezoid(curve.true_positive, curve.false_positive)
    wanted = area_under_curve(np.column_stack([-scores, scores]), truth.astype(int))
    assert area == pytest.approx(wanted)


def test_without_both_kinds_there_is_no_curve() -> None:
    assert roc_curve(np.array([0.5, 0.6]), np.array([True, True])) is None
    assert roc_curve(np.array([0.5, 0.6]), np.array([False, False])) is None


def test_the_bins_hold_every_case_and_give_the_calibration_error() -> None:
    random = np.random.default_rng(5)
    ill = random.random(200)
    found, labels = np.column_stack([1 - ill, ill]), random.integers(0, 2, 200)
    bins = calibration_bins(found, labels)
    assert [(each.low, each.high) for each in bins[:1] + bins[-1:]] == [(0.0, 0.1), (0.9, 1.0)]
    assert sum(each.count for each in bins) == 200
    assert [each.count for each in bins[:5]] == [0] * 5
    gaps = [
        each.count * abs(each.confidence - each.accuracy)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    ]
    assert sum(gaps) / 200 == pytest.approx(expected_calibration_error(found, labels))


def test_the_bin_of_three_cases() -> None:
    """Confidences 0.82, 0.84 and 0.86, of which two are right."""
    ill = np.array([0.82, 0.84, 0.14])
    bins = calibration_bins(np.column_stack([1 - ill, ill]), np.array([1, 0, 0]))
    assert (bins[8].count, bins[8].accuracy) == (3, pytest.approx(2 / 3))
    assert bins[8].confidence == pytest.approx(0.84)
    assert bins[3].confidence is None


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.786, 0.93], (0.75, 0.8, 0.85, 0.9, 0.95)),
        ([1.0, 4.9], (1, 2, 3, 4, 5)),
        ([-0.33, 0.8], (-0.5, 0.0, 0.5, 1.0)),
        ([7.0], (6.4, 6.6, 6.8, 7.0, 7.2, 7.4, 7.6)),
        ([], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    ],
)
def test_an_axis_covers_its_values_at_round_ticks(
    values: list[float], ticks: tuple[float, ...]
) -> None:
    axis = axis_over("x", values)
    assert axis.ticks == pytest.approx(ticks)
    assert all(0 <= axis.share(value) <= 1 for value in values)


def test_the_limits_of_agreement() -> None:
    """Differences 0.1, 0.3, 0.2: mean 0.2, standard deviation 0.1, limits 0.2 ± 0.196."""
    found = agreement_of(np.array([1.1, 2.3, 3.2]), np.array([1.0, 2.0, 3.0]))
    assert found.bias == pytest.approx(0.2)
    assert found.limits == pytest.approx((0.004, 0.396))
    assert found.means == pytest.approx([1.05, 2.15, 3.1])


def test_one_case_has_no_spread() -> None:
    found = agreement_of(np.array([1.5]), np.array([1.0]))
    assert found.limits == (0.5, 0.5)


def test_the_operating_point_lies_on_its_place() -> None:
    """A quarter from the left and three quarters up: the axes run from 48 to 308, 256 to 10."""
    curve = roc_curve(np.array([0.9, 0.1]), np.array([True, False]))
    assert curve is not None
    drawn = roc_chart("ROC", curve, (0.25, 0.75))
    [place] = re.findall(r'class="point" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert tuple(map(float, place)) == pytest.approx((48 + 0.25 * 260, 256 - 0.75 * 246))
    assert 'class="point"' not in roc_chart("ROC", curve, None)


def test_the_counts_stand_in_the_diagram() -> None:
    ill = np.array([0.95, 0.97, 0.96, 0.65])
    bins = calibration_bins(np.column_stack([1 - ill, ill]), np.array([1, 1, 0, 0]))
    drawn = calibration_chart("Reliability", bins)
    assert re.findall(r'class="value"[^>]*>(\d+)<', drawn) == ["1", "3"]


def test_every_case_is_a_dot_that_says_its_name() -> None:
    row = DotRow("<b>left</b>", {"<i>one</i>": 0.8, "two": 0.9}, 0.85, (0.8, 0.9))
    drawn = dot_chart("Dice", "Dice", [row, DotRow("right", {}, None, None)])
    assert drawn.count('class="dot"') == 2
    assert "&lt;i&gt;one&lt;/i&gt;: 0.8<" in drawn
    assert "<b>" not in drawn
    assert drawn.count('class="mean"') == 2


def test_agreement_draws_every_case_the_bias_and_both_limits() -> None:
    found = agreement_of(np.array([1.1, 2.3, 3.2]), np.array([1.0, 2.0, 3.0]))
    drawn = agreement_chart("Volume", found, ["a", "b", "<c>"], "mL")
    assert drawn.count('class="dot"') == 3
    assert (drawn.count('class="guide"'), drawn.count('class="mean"')) == (2, 1)
    assert "&lt;c&gt;: +0.2 mL" in drawn


def test_an_axis_knows_where_a_value_lies() -> None:
    assert Axis("x", 2.0, 4.0, ()).share(3.5) == pytest.approx(0.75)


def test_a_curve_lies_in_its_band_and_beside_another() -> None:
    """From 48 to 308 across and 256 to 10 up: the middle of both is at 178 and 133."""
    axes = Axis("x", 0.0, 2.0, ()), Axis("y", 0.0, 1.0, ())
    curve = Curve([0, 1, 2], [0.0, 0.5, 1.0], [(0.0, 0.0), (0.25, 0.75), (1.0, 1.0)])
    drawn = curve_chart("<learning>", axes, curve, None)
    assert re.findall(r'class="curve" points="([^"]*)"', drawn) == [
        "48.0,256.0 178.0,133.0 308.0,10.0"
    ]
    [band] = re.findall(r'class="band" points="([^"]*)"', drawn)
    assert "178.0,194.5 308.0,10.0 308.0,10.0 178.0,71.5" in band
    assert "&lt;learning&gt;" in drawn
    assert 'class="other"' not in drawn
    both = curve_chart("learning", axes, curve, curve)
    assert both.count("<polygon") == both.count("<polyline") == 2
    assert both.index('class="guide"') < both.index('class="curve"')


def test_a_guide_and_bounds_lie_within_the_axis_of_dots() -> None:
    """Dots at 2 and 3, bounds from 1 to 4, and 0 to compare with: the axis begins at 0."""
    drawn = dot_chart("Gain", "Dice", [DotRow("a", {"x": 2.0, "y": 3.0}, 2.5, (1.0, 4.0))], guide=0)
    [guide] = re.findall(r'class="guide" points="([\d.]+),[\d.]+ ([\d.]+),', drawn)
    assert guide == ("48.0", "48.0")
    ends = re.findall(r'class="mean" x1="([\d.]+)" x2="([\d.]+)"', drawn)[0]
    assert tuple(map(float, ends)) == pytest.approx((48 + 65, 308))

"""By what a candidate is promoted or refused: arithmetic on paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from wetread.models.comparison import ComparedSet, Difference, GroupDifference, PairedCase
from wetread.models.terms import Terms
from wetread.models.verdict import judge

TERMS = Terms(margin=-0.005, least_cases=20, least_group=10)


def difference(mean: float, low: float, high: float, count: int = 50) -> Difference:
    return Difference(count, 0.9, 0.9 + mean, mean, (low, high))


def compared(
    whole: Difference | None,
    groups: Sequence[GroupDifference] = (),
    name: str = "val",
) -> ComparedSet:
    count = whole.count if whole else 30
    cases = tuple(PairedCase(f"c{n}", 0.9, 0.9, {}) for n in range(count))
    return ComparedSet(name, "Dice", cases, whole, tuple(groups))


def group(mean: float, count: int = 12, value: str = "F") -> GroupDifference:
    found = difference(mean, mean - 0.02, mean + 0.02, count)
    return GroupDifference("sex", value, count, found)


@pytest.mark.parametrize(
    ("low", "is_promotion"), [(0.001, True), (-0.0049, True), (-0.005, False), (-0.02, False)]
)
def test_the_lower_bound_must_lie_above_the_margin(low: float, is_promotion: bool) -> None:
    found = judge([compared(difference(0.0, low, 0.03))], TERMS)
    assert found.is_promotion == is_promotion
    if not is_promotion:
        assert "its lower bound must be above −0.005" in found.reasons[0]


def test_a_gain_that_is_not_proven_is_refused_where_a_gain_is_asked() -> None:
    found = compared(difference(0.01, -0.001, 0.02))
    assert judge([found], TERMS).is_promotion
    assert not judge([found], Terms(margin=0.0)).is_promotion


def test_a_refusal_says_both_figures_the_difference_its_interval_and_the_count() -> None:
    found = judge([compared(difference(-0.02, -0.03, -0.01))], TERMS)
    assert found.reasons == (
        "Dice 0.900 → 0.880, difference −0.0200 [−0.0300 to −0.0100], 50 cases of val; "
        "its lower bound must be above −0.005",
    )


def test_a_subgroup_that_is_worse_refuses_a_candidate_that_is_better_on_the_whole() -> None:
    found = judge([compared(difference(0.02, 0.01, 0.03), [group(-0.006), group(0.03)])], TERMS)
    assert found.reasons == (
        "sex F: Dice 0.900 → 0.894, difference −0.0060 [−0.0260 to +0.0140], 12 cases of val; "
        "worse by more than 0.005",
    )


def test_a_subgroup_within_the_margin_or_of_few_cases_does_not() -> None:
    groups = [group(-0.005), group(-0.2, count=9, value="M"), GroupDifference("a", "b", 40, None)]
    assert judge([compared(difference(0.02, 0.01, 0.03), groups)], TERMS).is_promotion


def test_a_subgroup_need_not_gain_where_the_whole_must() -> None:
    found = compared(difference(0.02, 0.011, 0.03), [group(-0.001), group(0.0, value="M")])
    assert judge([found], Terms(margin=0.01)).reasons[0].startswith("sex F")
    assert len(judge([found], Terms(margin=0.01)).reasons) == 1


def test_too_few_cases_are_refused_with_what_to_do() -> None:
    found = judge([compared(difference(0.1, 0.09, 0.11, count=19))], TERMS)
    assert found.reasons == (
        "too few cases to judge by: 19 of val; at least 20 of one set are asked for: give more "
        "with --data, or hold out more corrections",
    )
    assert "too few cases to judge by: none" in judge([], TERMS).reasons[0]


def test_a_set_of_few_cases_does_not_hinder_one_of_enough() -> None:
    few = compared(difference(-0.01, -0.05, 0.02, count=5), name="recent")
    found = judge([compared(difference(0.02, 0.01, 0.03)), few], TERMS)
    assert found.is_promotion
    assert found.findings[1].endswith("5 cases of recent: too few cases to promote by")


def test_few_cases_that_are_clearly_worse_refuse() -> None:
    few = compared(difference(-0.1, -0.2, -0.05, count=3), name="recent")
    found = judge([compared(difference(0.02, 0.01, 0.03)), few], TERMS)
    assert "few cases, but all of its interval is a loss" in found.reasons[0]
    fewer = compared(difference(-0.1, -0.1, -0.1, count=2), name="recent")
    assert judge([compared(difference(0.02, 0.01, 0.03)), fewer], TERMS).is_promotion


def test_a_set_without_a_figure_carries_nothing() -> None:
    found = judge([compared(None)], TERMS)
    assert found.reasons[0].startswith("too few cases to judge by: 30 of val")
    assert "of which Dice cannot be had" in found.findings[0]

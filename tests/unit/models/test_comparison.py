"""Two models on the same cases: means, paired intervals, segments and subgroups."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from wetread.models.classification import Classification, ClassifiedCase
from wetread.models.comparison import (
    ComparedSet,
    compare_classifications,
    compare_segmentations,
)
from wetread.models.intervals import (
    confidence_interval,
    grouped_interval,
    grouped_mean_interval,
)
from wetread.models.segmentation import CaseScore, Segmentation, SegmentScore
from wetread.models.subgroups import Facts
from wetread.results import ModelIdentity

MODEL = ModelIdentity("m", "1", "00")


def segmented(rows: Sequence[dict[str, float]]) -> Segmentation:
    def score(dice: float) -> SegmentScore:
        return SegmentScore(dice, dice, None, 1.0, 1.0)

    cases = [
        CaseScore(f"c{number}", {label: score(dice) for label, dice in row.items()})
        for number, row in enumerate(rows)
    ]
    return Segmentation(MODEL, tuple(cases))


def compared(
    one: Sequence[dict[str, float]],
    other: Sequence[dict[str, float]],
    facts: Sequence[Facts] | None = None,
    groups: Sequence[str] | None = None,
) -> ComparedSet:
    names = [f"c{number}" for number in range(len(one))]
    known = facts or [{} for _ in one]
    return compare_segmentations("val", segmented(one), segmented(other), names, known, groups)


def test_the_difference_is_that_of_the_means_with_a_paired_interval() -> None:
    one, other = [0.1, 0.5, 0.9], [0.2, 0.7, 0.95]
    found = compared([{"a": each} for each in one], [{"a": each} for each in other])
    assert found.whole is not None
    assert (found.whole.current, found.whole.candidate) == pytest.approx((0.5, 1.85 / 3))
    paired = [after - before for before, after in zip(one, other, strict=True)]
    assert found.whole.bounds == pytest.approx(confidence_interval(paired), abs=0.02)
    # Unpaired it would reach over zero: the cases differ more than the models.
    assert found.whole.bounds[0] > 0


def test_a_case_is_the_mean_of_its_segments_and_each_segment_is_a_group() -> None:
    found = compared([{"a": 0.8, "b": 0.6}] * 4, [{"a": 0.9, "b": 0.5}] * 4)
    assert found.whole is not None
    assert found.whole.difference == pytest.approx(0.0)
    by_name = {each.name: each.found for each in found.groups}
    assert by_name["segment a"] is not None
    assert by_name["segment b"] is not None
    assert by_name["segment a"].difference == pytest.approx(0.1)
    assert by_name["segment b"].difference == pytest.approx(-0.1)


def test_one_segment_makes_no_group() -> None:
    assert compared([{"a": 0.8}], [{"a": 0.9}]).groups == ()


def test_subgroups_have_their_own_figures() -> None:
    facts = [{"sex": each} for each in "FMFM"]
    found = compared([{"a": 0.5}] * 4, [{"a": each} for each in (0.9, 0.4, 0.7, 0.2)], facts)
    by_name = {each.name: each for each in found.groups}
    assert {name: each.count for name, each in by_name.items()} == {"sex F": 2, "sex M": 2}
    women, men = by_name["sex F"].found, by_name["sex M"].found
    assert women is not None
    assert men is not None
    assert women.difference == pytest.approx(0.3)
    assert men.difference == pytest.approx(-0.2)
    assert (men.current, men.candidate) == pytest.approx((0.5, 0.3))


@pytest.mark.parametrize("by", ["facts", "groups"])
def test_images_of_one_patient_are_drawn_together(by: str) -> None:
    """Twenty images of two patients know as little as two images do."""
    owners = ["p", "q"] * 10
    other = [{"a": 0.9 if each == "p" else 0.4} for each in owners]
    facts = [{"Patient": each} for each in owners] if by == "facts" else None
    found = compared([{"a": 0.5}] * 20, other, facts, owners if by == "groups" else None)
    alone = compared([{"a": 0.5}] * 20, other)
    assert found.whole is not None
    assert alone.whole is not None
    assert found.whole.bounds == pytest.approx((-0.1, 0.4))
    assert alone.whole.bounds[0] > 0
    assert found.groups == ()


def test_no_cases_have_no_figure() -> None:
    assert compared([], []).whole is None


def classified(below: Sequence[float], labels: str, sexes: str) -> Classification:
    cases = [
        ClassifiedCase(
            f"f{number}",
            {"a": "above", "b": "below"}[label],
            f"p{number}",
            {"above": 1 - value, "below": value},
            {"sex": sex},
        )
        for number, (value, label, sex) in enumerate(zip(below, labels, sexes, strict=True))
    ]
    return Classification(MODEL, {"below": 0.5}, tuple(cases))


def test_classifiers_are_compared_by_their_auc() -> None:
    """Of four pairs of an a and a b the current orders two rightly, the candidate all."""
    current = classified([0.2, 0.8, 0.5, 0.6], "aabb", "FMFM")
    candidate = classified([0.2, 0.3, 0.5, 0.6], "aabb", "FMFM")
    found = compare_classifications("val", current, candidate)
    assert found.figure == "AUC"
    assert found.whole is not None
    assert (found.whole.current, found.whole.candidate) == (0.5, 1.0)
    assert [each.current for each in found.cases] == pytest.approx([0.8, 0.2, 0.5, 0.6])
    assert [each.candidate for each in found.cases] == pytest.approx([0.8, 0.7, 0.5, 0.6])
    by_name = {each.name: each.found for each in found.groups}
    assert by_name["sex M"] is not None
    assert (by_name["sex M"].current, by_name["sex M"].candidate) == (0.0, 1.0)


def test_a_subgroup_of_one_class_has_no_auc() -> None:
    found = compare_classifications(
        "val", classified([0.1, 0.2, 0.9], "aab", "FFM"), classified([0.1, 0.2, 0.9], "aab", "FFM")
    )
    assert [(each.name, each.count, each.found) for each in found.groups] == [
        ("sex F", 2, None),
        ("sex M", 1, None),
    ]


def test_the_json_has_every_case_the_greatest_loss_first() -> None:
    found = compared(
        [{"a": 0.5}] * 3, [{"a": each} for each in (0.6, 0.1, 0.5)], [{"sex": "F"}] * 3
    )
    values = json.loads(json.dumps(found.as_dict()))
    assert [each["case"] for each in values["cases"]] == ["c1", "c2", "c0"]
    assert values["cases"][0] == {
        "case": "c1",
        "current": 0.5,
        "candidate": 0.1,
        "facts": {"sex": "F"},
    }
    assert values["whole"]["difference"] == pytest.approx(np.mean([0.1, -0.4, 0.0]), abs=1e-5)


def test_the_quick_interval_of_a_mean_is_that_of_every_draw() -> None:
    random = np.random.default_rng(3)
    values = random.normal(0.01, 0.05, 60)
    groups = [f"p{number}" for number in random.integers(0, 25, 60)]
    slow = grouped_interval(groups, lambda chosen: float(values[chosen].mean()))
    quick = grouped_mean_interval(groups, values.tolist())
    assert slow is not None
    assert quick == pytest.approx(slow, abs=0.002)
    assert grouped_mean_interval([], []) is None

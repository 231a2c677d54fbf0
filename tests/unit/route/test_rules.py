"""A condition says what it wanted, saw and concluded; one that cannot be judged is an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

import strategies
from facts import series, study
from wetread.config import Conditions, Rule
from wetread.errors import RoutingError
from wetread.route.rules import CONDITIONS, evaluate_rules
from wetread.study import Unusable


def rule(name: str = "r", **when: Any) -> Rule:
    return Rule(name=name, when=Conditions(**when), run=("m",), send_results_to=("pacs",))


def held(
    when: dict[str, Any], *, of_study: dict[str, Any] | None = None, **attributes: Any
) -> bool:
    subject = study(series(**attributes), **(of_study or {}))
    return bool(evaluate_rules(subject, [rule(**when)]).selections)


CASES = [
    ({"modality": "mr"}, {"modality": "MR"}, {"modality": "CT"}),
    ({"body_part_examined": ["HEAD", "BRAIN"]}, {"body_part_examined": "Brain"}, {}),
    ({"series_description": "*t1*"}, {"series_description": "Sag T1 MPRAGE"}, {}),
    ({"series_description": "T?"}, {"series_description": "t2"}, {"series_description": "t22"}),
    (
        {"not_series_description": "*scout*"},
        {"series_description": "T1"},
        {"series_description": "Scout 1"},
    ),
    ({"manufacturer": "siemens*"}, {"manufacturer": "SIEMENS Healthineers"}, {}),
    ({"min_instances": 20}, {"count": 20}, {"count": 19}),
    ({"max_instances": 20}, {"count": 20}, {"count": 21}),
    ({"min_instances": 20}, {"count": 1, "frames": 60}, {"count": 1, "frames": 19}),
    ({"min_slice_spacing_mm": 3.0}, {"slice_spacing_mm": 3.0}, {"slice_spacing_mm": 2.9}),
    ({"max_slice_spacing_mm": 3.0}, {"slice_spacing_mm": 3.0}, {"slice_spacing_mm": 3.1}),
    ({"max_slice_spacing_mm": 3.0}, {"slice_spacing_mm": 1.0}, {"slice_spacing_mm": None}),
    (
        {"image_type": ["ORIGINAL", "PRIMARY"]},
        {"image_type": ("ORIGINAL", "PRIMARY", "M")},
        {"image_type": ("DERIVED", "PRIMARY")},
    ),
    (
        {"not_image_type": "LOCALIZER"},
        {"image_type": ("ORIGINAL",)},
        {"image_type": ("LOCALIZER",)},
    ),
    ({"orientation": "axial"}, {"orientation": "axial"}, {"orientation": "oblique"}),
    ({"contrast": True}, {"contrast_bolus_agent": "Gd"}, {}),
    ({"contrast": False}, {}, {"contrast_bolus_agent": "Gd"}),
]


@pytest.mark.parametrize(("when", "good", "bad"), CASES, ids=lambda value: str(value)[:40])
def test_a_condition_holds_for_one_series_and_not_for_another(
    when: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]
) -> None:
    assert held(when, **good)
    assert not held(when, **bad)


@pytest.mark.parametrize(
    ("when", "good", "bad"),
    [
        ({"study_description": "head*"}, {"study_description": "HEAD mr"}, {}),
        ({"min_patient_age_years": 18}, {"patient_age_years": 18.0}, {"patient_age_years": 17.9}),
        ({"max_patient_age_years": 18}, {"patient_age_years": 18.0}, {"patient_age_years": None}),
    ],
)
def test_a_condition_on_the_study(
    when: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]
) -> None:
    assert held(when, of_study=good)
    assert not held(when, of_study=bad)


def test_the_calling_ae_title_is_a_condition() -> None:
    assert held({"calling_ae_title": "CT_ROOM1"})
    assert not held({"calling_ae_title": "CT_ROOM2"})


def test_every_condition_of_the_settings_can_be_judged() -> None:
    assert set(CONDITIONS) == set(Conditions.model_fields)


def test_the_first_rule_that_matches_takes_the_series() -> None:
    rules = [rule("a", modality="CT"), rule("b"), rule("c")]
    decision = evaluate_rules(study(series(modality="MR")), rules)
    assert [each.rule for each in decision.selections] == ["b"]
    assert [(each.rule, each.matched) for each in decision.outcomes] == [("a", False), ("b", True)]


def test_with_all_every_rule_that_matches_takes_it() -> None:
    rules = [rule("a", modality="CT"), rule("b"), rule("c")]
    decision = evaluate_rules(study(series(modality="MR")), rules, "all")
    assert [each.rule for each in decision.selections] == ["b", "c"]


def test_each_series_is_judged_by_itself() -> None:
    subject = study(series("1.1", modality="CT"), series("1.2", modality="MR"))
    decision = evaluate_rules(subject, [rule("ct", modality="CT"), rule("mr", modality="MR")])
    chosen = [(each.series_instance_uid, each.rule) for each in decision.selections]
    assert chosen == [("1.1", "ct"), ("1.2", "mr")]


def test_every_condition_tells_what_it_wanted_and_saw() -> None:
    decision = evaluate_rules(
        study(series(modality="CT", count=12)), [rule(modality=["MR", "PT"], min_instances=20)]
    )
    told = [
        (each.name, each.wanted, each.seen, each.held) for each in decision.outcomes[0].conditions
    ]
    assert told == [("modality", "MR or PT", "CT", False), ("min_instances", "20", "12", False)]


def test_an_absent_attribute_is_said_to_be_absent() -> None:
    decision = evaluate_rules(study(series()), [rule(body_part_examined="HEAD")])
    assert decision.outcomes[0].conditions[0].seen == "absent"


def test_a_malformed_attribute_is_an_error_and_no_silent_no() -> None:
    subject = study(series(), patient_age_years=Unusable("PatientAge", "old"))
    with pytest.raises(RoutingError, match=r"rule 'r' cannot be evaluated.*PatientAge.*'old'"):
        evaluate_rules(subject, [rule(min_patient_age_years=18)])


def test_a_malformed_attribute_that_nobody_asks_for_does_no_harm() -> None:
    subject = study(series(), patient_age_years=Unusable("PatientAge", "old"))
    assert evaluate_rules(subject, [rule(modality="CT")]).selections == ()


@given(modalities=strategies.modalities, wanted=strategies.wanted_modalities)
def test_each_series_gets_at_most_one_rule_by_first_match(
    modalities: list[str | None], wanted: list[str]
) -> None:
    subject = study(
        *(series(f"1.{index}", 1, modality=each) for index, each in enumerate(modalities))
    )
    rules = [rule(f"r{index}", modality=each) for index, each in enumerate(wanted)]
    first = evaluate_rules(subject, rules)
    every = evaluate_rules(subject, rules, "all")
    chosen = [each.series_instance_uid for each in first.selections]
    assert len(chosen) == len(set(chosen))
    assert set(chosen) == {each.series_instance_uid for each in every.selections}

"""Which models read which series, with the reason for every condition."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wetread.config import Conditions, Rule
from wetread.errors import RoutingError
from wetread.study import Series, Study, Unusable


@dataclass(frozen=True, slots=True)
class ConditionOutcome:
    """One condition of one rule: what it wanted, what it saw, and whether it held."""

    name: str
    wanted: str
    seen: str
    held: bool


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """One rule looked at for one series, or one stack of it."""

    rule: str
    series_instance_uid: str
    matched: bool
    conditions: tuple[ConditionOutcome, ...]
    stack: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """A series, or a stack of it, that a rule gives to models, and where their results go."""

    rule: str
    series_instance_uid: str
    models: tuple[str, ...]
    destinations: tuple[str, ...]
    priority: int
    stack: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Series and stack, which name what is read."""
        return self.series_instance_uid, self.stack


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """The one decision on a study: every rule that was looked at, and what follows."""

    study_instance_uid: str
    generation: int
    outcomes: tuple[RuleOutcome, ...]
    selections: tuple[Selection, ...]


def evaluate_rules(
    study: Study, rules: Sequence[Rule], match: Literal["first", "all"] = "first"
) -> RoutingDecision:
    """Decide which models read which series of a study.

    With "first" a series takes the first rule whose conditions all hold, with "all" every such
    rule. A condition on an attribute that is absent does not hold.

    Raises RoutingError if a condition asks for an attribute that is there and malformed: a rule
    that cannot be evaluated must not look like one that did not match.
    """
    outcomes: list[RuleOutcome] = []
    selections: list[Selection] = []
    for series in study.series:
        for rule in rules:
            outcome = _look_at(rule, series, study)
            outcomes.append(outcome)
            if outcome.matched:
                selections.append(_selection(rule, series))
                if match == "first":
                    break
    return RoutingDecision(
        study.study_instance_uid, study.generation, tuple(outcomes), tuple(selections)
    )


def _selection(rule: Rule, series: Series) -> Selection:
    uid = series.series_instance_uid
    return Selection(rule.name, uid, rule.run, rule.send_results_to, rule.priority, series.stack)


def _look_at(rule: Rule, series: Series, study: Study) -> RuleOutcome:
    asked = [
        (name, wanted)
        for name in Conditions.model_fields
        if (wanted := getattr(rule.when, name)) is not None
    ]
    conditions = tuple(_judge(rule, name, wanted, series, study) for name, wanted in asked)
    matched = all(condition.held for condition in conditions)
    return RuleOutcome(rule.name, series.series_instance_uid, matched, conditions, series.stack)


def _judge(rule: Rule, name: str, wanted: Any, series: Series, study: Study) -> ConditionOutcome:
    attribute, holds = CONDITIONS[name]
    seen = attribute(series, study)
    if isinstance(seen, Unusable):
        raise RoutingError(
            f"rule {rule.name!r} cannot be evaluated: {name} needs {seen.keyword}, "
            f"which is {seen.text!r} in series {series.series_instance_uid}",
            hint="correct it at the sender, or change the rule",
            stage="route",
            study_instance_uid=study.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
        )
    held = seen is not None and holds(seen, wanted)
    return ConditionOutcome(name, _shown(wanted), _shown(seen), held)


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "absent"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " or ".join(str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _one_of(seen: str, wanted: Iterable[str]) -> bool:
    return seen.upper() in {each.upper() for each in wanted}


def is_like(seen: str, wanted: Iterable[str]) -> bool:
    """Whether it fits one of the patterns: `*` and `?`, whatever the letter case."""
    return any(_pattern(each).fullmatch(seen) for each in wanted)


def _pattern(text: str) -> re.Pattern[str]:
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in text)
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _all_among(seen: tuple[str, ...], wanted: Iterable[str]) -> bool:
    return all(_one_of(each, seen) for each in wanted)


def _none_among(seen: tuple[str, ...], wanted: Iterable[str]) -> bool:
    return not any(_one_of(each, seen) for each in wanted)


_Attribute = Callable[[Series, Study], Any]
_Test = Callable[[Any, Any], bool]

# Every condition of config.Conditions: where its value is found and what it means.
CONDITIONS: dict[str, tuple[_Attribute, _Test]] = {
    "modality": (lambda series, study: series.modality, _one_of),
    "body_part_examined": (lambda series, study: series.body_part_examined, _one_of),
    "study_description": (lambda series, study: study.study_description, is_like),
    "series_description": (lambda series, study: series.series_description, is_like),
    # A series without a description has none of the unwanted ones.
    "not_series_description": (
        lambda series, study: series.series_description or "",
        lambda seen, wanted: not is_like(seen, wanted),
    ),
    "calling_ae_title": (lambda series, study: study.calling_ae_title, _one_of),
    "manufacturer": (lambda series, study: series.manufacturer, is_like),
    "min_instances": (lambda series, study: series.image_count, operator.ge),
    "max_instances": (lambda series, study: series.image_count, operator.le),
    "min_slice_spacing_mm": (lambda series, study: series.slice_spacing_mm, operator.ge),
    "max_slice_spacing_mm": (lambda series, study: series.slice_spacing_mm, operator.le),
    "image_type": (lambda series, study: series.image_type, _all_among),
    "not_image_type": (lambda series, study: series.image_type, _none_among),
    "orientation": (lambda series, study: series.orientation, _one_of),
    "contrast": (
        lambda series, study: series.contrast_bolus_agent is not None,
        lambda seen, wanted: seen == wanted,
    ),
    "min_patient_age_years": (lambda series, study: study.patient_age_years, operator.ge),
    "max_patient_age_years": (lambda series, study: study.patient_age_years, operator.le),
}

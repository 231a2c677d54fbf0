"""A routing decision as tables: for each series every condition looked at, then what follows."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from wetread import console

if TYPE_CHECKING:
    from wetread.route.rules import RoutingDecision, RuleOutcome, Selection


def show_decision(decision: RoutingDecision) -> None:
    """Print one study's decision."""

    def name_of(each: RuleOutcome | Selection) -> str:
        return f"{each.series_instance_uid} {each.stack}".strip()

    for series, outcomes in groupby(decision.outcomes, name_of):
        rows = [row for outcome in outcomes for row in _rows(outcome)]
        columns = ["rule", "condition", "wanted", "seen", "held"]
        console.show_table(f"series {series}", columns, rows)
    chosen = [
        (
            name_of(each),
            each.rule,
            ", ".join(each.models) or "none",
            ", ".join(each.destinations) or "nowhere",
        )
        for each in decision.selections
    ]
    title = f"decision on study {decision.study_instance_uid}"
    console.show_table(title, ["series", "rule", "models", "results go to"], chosen)


def _rows(outcome: RuleOutcome) -> list[tuple[str, ...]]:
    if not outcome.conditions:
        return [(outcome.rule, "no condition", "", "", "yes")]
    return [
        (outcome.rule, each.name, each.wanted, each.seen, "yes" if each.held else "no")
        for each in outcome.conditions
    ]

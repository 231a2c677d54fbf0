"""The page about a promotion: the verdict, the figures it rests on, and every case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wetread.files import write_atomically
from wetread.markup import NOT_FOR_DIAGNOSIS, document, escaped, facts_table, figures_table
from wetread.models import charts, page_parts
from wetread.models.comparison import ComparedSet, Difference, GroupDifference
from wetread.models.page_parts import DASH, chart_figure, charts_grid, section
from wetread.models.terms import Terms
from wetread.models.verdict import Verdict, difference_text
from wetread.results import ModelIdentity

_STYLE = (
    page_parts.STYLE
    + charts.STYLE
    + """
.verdict{border-left:4px solid var(--mark);padding:2px 12px;margin:16px 0}
.verdict.refused{border-color:var(--second)}.verdict b{font-size:18px}
"""
)
_COLUMNS = ["cases", "current", "candidate", "candidate − current"]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about one comparison; `after` is None if nothing was promoted."""

    before: ModelIdentity
    after: ModelIdentity | None
    candidate: Path
    by: str
    terms: Terms
    sets: tuple[ComparedSet, ...]
    verdict: Verdict

    def as_dict(self, now: datetime) -> dict[str, Any]:
        """For JSON."""
        return {
            "at": now.isoformat(),
            "by": self.by,
            "current": asdict(self.before),
            "candidate": str(self.candidate),
            "promoted_as": None if self.after is None else asdict(self.after),
            "is_promotion": self.verdict.is_promotion,
            "reasons": list(self.verdict.reasons),
            "findings": list(self.verdict.findings),
            "terms": asdict(self.terms),
            "sets": [each.as_dict() for each in self.sets],
        }


def write_report(path: Path, report: Report, now: datetime) -> None:
    """Write the page; it needs no network and no script. Raises StorageError."""
    title = f"Promotion of {report.before.name}"
    parts = [_head(title, report, now), _verdict(report.verdict)]
    parts += [part for each in report.sets for part in _of_set(each, report.terms)]
    write_atomically(path, [document(title, parts, _STYLE).encode("utf-8")])


def _head(title: str, report: Report, now: datetime) -> str:
    terms = report.terms
    rows = [
        ("current", f"{report.before.name} {report.before.version}"),
        ("weights, SHA-256", report.before.weights_sha256),
        ("candidate", report.candidate.name),
        *([] if report.after is None else _promoted(report.after)),
        ("margin", f"{terms.margin:g}".replace("-", "−")),
        ("at least", f"{terms.least_cases} cases of a set, {terms.least_group} of a subgroup"),
        ("by", report.by),
        ("date", now.strftime("%Y-%m-%d %H:%M %Z").strip()),
    ]
    return f'<h1>{escaped(title)}</h1><p class="warning">{NOT_FOR_DIAGNOSIS}</p>{facts_table(rows)}'


def _promoted(after: ModelIdentity) -> list[tuple[str, str]]:
    return [
        ("becomes", f"{after.name} {after.version}"),
        ("weights, SHA-256", after.weights_sha256),
    ]


def _verdict(verdict: Verdict) -> str:
    kind, word = ("", "Promote") if verdict.is_promotion else (" refused", "Refused")
    lines = "".join(f"<li>{escaped(each)}</li>" for each in verdict.reasons)
    held = "".join(f"<li>{escaped(each)}</li>" for each in verdict.findings)
    return (
        f'<div class="verdict{kind}"><b>{word}</b>'
        + (f"<p>Against it:</p><ul>{lines}</ul>" if lines else "")
        + (f"<p>Found:</p><ul>{held}</ul>" if held else "")
        + "</div>"
    )


def _of_set(found: ComparedSet, terms: Terms) -> Iterator[str]:
    rows = [("all", *_cells(len(found.cases), found.whole))]
    yield section(
        found.name,
        f"<p>{escaped(_meaning(found.figure))} Brackets hold the 95 % bootstrap interval of the "
        "paired difference, drawn over patients or studies where they are known, else over cases."
        "</p>",
        figures_table([found.figure, *_COLUMNS], rows),
        charts_grid([_chart(found)] if found.cases and found.whole else []),
    )
    if found.groups:
        yield section(f"Subgroups of {found.name}", _group_note(terms), _group_table(found, terms))
    yield section(f"Every case of {found.name}, the greatest loss first", _case_table(found))


def _meaning(figure: str) -> str:
    if figure == "Dice":
        return "Dice of a case is the mean over its segments."
    return "AUC is over all cases; of one case stands the probability of its true class."


def _cells(count: int, found: Difference | None) -> list[str]:
    if found is None:
        return [str(count), DASH, DASH, DASH]
    return [
        str(count),
        f"{found.current:.3f}",
        f"{found.candidate:.3f}",
        difference_text(found),
    ]


def _chart(found: ComparedSet) -> str:
    # Rounded: what differs by the last bit only is the same, and makes no axis.
    values = {each.case: round(each.candidate - each.current, 6) for each in found.cases}
    # An AUC is of all cases; those have no AUC each, so the two share no axis.
    whole = found.whole if found.figure == "Dice" else None
    row = charts.DotRow(
        "difference",
        values,
        None if whole is None else whole.difference,
        None if whole is None else whole.bounds,
    )
    title = f"Candidate − current of every case of {found.name}"
    caption = "A dot is a case, right of 0 where the candidate is better."
    caption += "" if whole is None else " The cross is the mean with its 95 % interval."
    return chart_figure(charts.dot_chart(title, "candidate − current", [row]), caption)


def _group_note(terms: Terms) -> str:
    margin = f"{terms.group_margin:g}".replace("-", "−")
    return (
        f"<p>Judged from {terms.least_group} cases on, by the difference itself: it must not lie "
        f"below {margin}. The more groups one looks at, the likelier one of them differs by chance "
        "alone.</p>"
    )


def _group_table(found: ComparedSet, terms: Terms) -> str:
    rows = [
        (group.name, *_cells(group.count, group.found), _judged(group, terms))
        for group in found.groups
    ]
    return figures_table(["subgroup", *_COLUMNS, "judged"], rows)


def _judged(group: GroupDifference, terms: Terms) -> str:
    if group.found is None:
        return "no: it has no figure"
    if group.count < terms.least_group:
        return "no: few cases"
    return "worse" if group.found.difference < terms.group_margin else "held"


def _case_table(found: ComparedSet) -> str:
    columns = list(dict.fromkeys(key for each in found.cases for key in each.facts))
    rows = [
        (
            each.case,
            f"{each.current:.3f}",
            f"{each.candidate:.3f}",
            page_parts.signed_text(each.candidate - each.current),
            *_facts(each.facts, columns),
        )
        for each in sorted(found.cases, key=lambda case: case.candidate - case.current)
    ]
    return figures_table(["case", *_COLUMNS[1:], *columns], rows)


def _facts(facts: Any, columns: Sequence[str]) -> list[str]:
    return [str(facts.get(column, DASH)) for column in columns]

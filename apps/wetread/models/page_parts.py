"""What the pages of all evaluations are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wetread.markup import escaped, figures_table
from wetread.models.intervals import Interval
from wetread.models.subgroups import Subgroup

# Figures of fewer cases are marked as uncertain.
FEW = 20
DASH = "–"

STYLE = """
.wide{overflow-x:auto;margin-bottom:16px}.figures{font-variant-numeric:tabular-nums}
.figures td,.figures th{border-bottom:1px solid var(--line);white-space:nowrap}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,280px),1fr));gap:16px}
.charts figcaption{font-size:13px;max-width:420px}
.warning{border:1px solid var(--note);padding:6px 10px;color:var(--note);font-weight:600;
display:inline-block}
"""


def interval_text(value: float | None, bounds: Interval | None, digits: int = 3) -> str:
    """A figure with its 95 % interval: 0.876 [0.865 to 0.886]."""
    if value is None or bounds is None:
        return DASH
    text = f"{value:.{digits}f} [{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}]"
    return text.replace("-", "−")


def signed_text(value: float) -> str:
    """A difference: +0.038 or −0.009."""
    return f"{value:+.3f}".replace("-", "−")


def section(title: str, *parts: str) -> str:
    """Markup under a heading."""
    return f"<section><h2>{escaped(title)}</h2>{''.join(parts)}</section>"


def chart_figure(svg: str, caption: str) -> str:
    """A chart with what it says."""
    return f"<figure>{svg}<figcaption>{escaped(caption)}</figcaption></figure>"


def charts_grid(figures: Iterable[str]) -> str:
    """Charts beside each other, or below each other where there is no room."""
    return f'<div class="charts">{"".join(figures)}</div>'


def subgroup_section(
    groups: Sequence[Subgroup],
    columns: Sequence[str],
    cells: Callable[[Sequence[int]], list[str]],
    where: str,
) -> str:
    """Figures of each group by `cells`, which is asked with the numbers of its cases.

    Without groups it says `where` the facts would stand.
    """
    if not groups:
        return section(
            "By subgroup",
            f"<p>Nothing is known of the cases by which to group them. {escaped(where)} would say "
            "it.</p>",
        )
    parts = []
    for column in dict.fromkeys(group.column for group in groups):
        rows = [
            (_counted(group), len(group.cases), *cells(group.cases))
            for group in groups
            if group.column == column
        ]
        parts.append(figures_table([column, "cases", *columns], rows))
    note = (
        f"<p>* Fewer than {FEW} cases: the figure is uncertain, and so is its interval. The more "
        "groups one looks at, the likelier one of them differs by chance alone.</p>"
    )
    return section("By subgroup", note, *parts)


def _counted(group: Subgroup) -> str:
    return group.value + (" *" if len(group.cases) < FEW else "")

"""Whether a candidate may take the place of the current model, by declared terms.

Non-inferiority by a margin: a candidate is promoted if the lower bound of the 95 % interval of its
paired mean difference (candidate − current) lies above the margin, so that chance alone would
hardly hide a loss as large as it. The margin is −0.005 by default: a loss of Dice that small is
below what the same reader draws differently on another day, and a margin of 0 would refuse every
retraining that is merely as good. 0 or more asks for a proven gain.

Subgroups are too small to prove anything of each, so their point estimate decides: a candidate that
is worse by more than the margin in any of them is refused. More subgroups make a refusal by chance
likelier; that is the price of seeing a loss that the mean hides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wetread.models.comparison import ComparedSet, Difference
from wetread.models.page_parts import signed_text
from wetread.models.terms import Terms

# Of fewer cases even an interval that lies wholly below the margin says nothing.
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reasons` stand against a promotion; without any it may go on. `findings` are what held."""

    reasons: tuple[str, ...]
    findings: tuple[str, ...]

    @property
    def is_promotion(self) -> bool:
        """Whether nothing stands against it."""
        return not self.reasons


def judge(sets: Sequence[ComparedSet], terms: Terms) -> Verdict:
    """Judge every set that has enough cases, and every subgroup of it; at least one set must."""
    enough = [each for each in sets if _is_enough(each, terms)]
    reasons = [reason for each in enough for reason in _against(each, terms)]
    reasons += [reason for each in sets for reason in _groups_against(each, terms)]
    few = [each for each in sets if each not in enough]
    reasons += [reason for each in few for reason in _clear_loss(each, terms)]
    if not enough:
        reasons.append(_too_few(sets, terms))
    findings = [f"{_said(each)}: held" for each in enough if not list(_against(each, terms))]
    findings += [f"{_said(each)}: too few cases to promote by" for each in few]
    return Verdict(tuple(reasons), tuple(findings))


def _is_enough(found: ComparedSet, terms: Terms) -> bool:
    return found.whole is not None and found.whole.count >= terms.least_cases


def _against(found: ComparedSet, terms: Terms) -> Iterator[str]:
    if found.whole is not None and found.whole.bounds[0] <= terms.margin:
        yield f"{_said(found)}; its lower bound must be above {signed_text(terms.margin)}"


def _clear_loss(found: ComparedSet, terms: Terms) -> Iterator[str]:
    whole = found.whole
    if whole is not None and whole.count >= _FEWEST and whole.bounds[1] < terms.group_margin:
        yield f"{_said(found)}: few cases, but all of its interval is a loss"


def _groups_against(found: ComparedSet, terms: Terms) -> Iterator[str]:
    for group in found.groups:
        inside = group.found
        if (
            inside is not None
            and inside.count >= terms.least_group
            and inside.difference < terms.group_margin
        ):
            yield (
                f"{group.name}: {in_words(found.figure, inside)} of {found.name}; worse by more "
                f"than {abs(terms.group_margin):g}"
            )


def _too_few(sets: Sequence[ComparedSet], terms: Terms) -> str:
    counts = ", ".join(f"{len(each.cases)} of {each.name}" for each in sets) or "none"
    return (
        f"too few cases to judge by: {counts}; at least {terms.least_cases} of one set are asked "
        "for: give more with --data, or hold out more corrections"
    )


def _said(found: ComparedSet) -> str:
    if found.whole is None:
        return f"{found.name}: {len(found.cases)} cases, of which {found.figure} cannot be had"
    return f"{in_words(found.figure, found.whole)} of {found.name}"


def in_words(figure: str, found: Difference) -> str:
    """Dice 0.881 → 0.893, difference +0.0120 [+0.0041 to +0.0203], 52 cases."""
    return (
        f"{figure} {found.current:.3f} → {found.candidate:.3f}, difference "
        f"{difference_text(found)}, {found.count} cases"
    )


def difference_text(found: Difference) -> str:
    """+0.0120 [+0.0041 to +0.0203]: finer than a figure, since margins are."""
    low, high = found.bounds
    return f"{found.difference:+.4f} [{low:+.4f} to {high:+.4f}]".replace("-", "−")

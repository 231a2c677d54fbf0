"""By what a candidate is judged; light, since the command line shows the defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a candidate is judged, said before its figures are known.

    `margin` is a difference of Dice or AUC. A set of fewer than `least_cases` cases cannot carry a
    promotion, a subgroup of fewer than `least_group` is shown and not judged; `newest` is how many
    of the held-out corrections count.
    """

    margin: float = -0.005
    least_cases: int = 20
    least_group: int = 10
    newest: int = 100

    @property
    def group_margin(self) -> float:
        """Of a subgroup no proven gain is asked."""
        return min(self.margin, 0.0)

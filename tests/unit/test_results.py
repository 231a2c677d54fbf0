"""How a volume is written."""

from __future__ import annotations

import pytest

from wetread.results import InputCheck, in_millilitres


@pytest.mark.parametrize(
    ("volume_ml", "text"),
    [
        (1956.44, "1956.4 mL"),
        (1.0, "1.0 mL"),
        (0.031, "0.031 mL"),
        (0.0004, "0.0004 mL"),
        (0.0, "0 mL"),
    ],
)
def test_a_small_volume_is_not_0(volume_ml: float, text: str) -> None:
    assert in_millilitres(volume_ml) == text


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (8.4, "Like what this model was trained on: distance 8.4, limit 8.4"),
        (12.34, "Unlike what this model was trained on: distance 12.3, limit 8.4"),
    ],
)
def test_a_distance_above_the_limit_is_unlike(distance: float, text: str) -> None:
    assert InputCheck(distance, 8.4).text == text

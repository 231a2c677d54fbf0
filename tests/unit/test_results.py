"""How a volume is written."""

from __future__ import annotations

import pytest

from wetread.results import in_millilitres


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

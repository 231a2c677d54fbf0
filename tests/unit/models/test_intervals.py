"""The interval of a few values by arithmetic and by the table of Student's t."""

from __future__ import annotations

import pytest

from wetread.models.intervals import student_interval


def test_the_interval_of_three_values() -> None:
    """1, 2 and 3: mean 2, standard deviation 1, t of 2 degrees of freedom 4.3027."""
    assert student_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 4.4842), 1e-4)


def test_equal_values_have_no_width() -> None:
    assert student_interval([0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.7]])
def test_one_value_has_no_interval(values: list[float]) -> None:
    assert student_interval(values) is None

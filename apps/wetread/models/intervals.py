"""Intervals of figures: bootstrap ones, always from the same draws; Student's for few values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
RESAMPLES = 2000
_SEED = 20251125
_BOUNDS = (2.5, 97.5)


def confidence_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % percentile bootstrap interval of the mean, drawn over cases.

    None without values. See Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    if not values:
        return None
    numbers = np.asarray(values, float)
    draws = np.random.default_rng(_SEED).integers(0, len(numbers), (RESAMPLES, len(numbers)))
    low, high = np.percentile(numbers[draws].mean(axis=1), _BOUNDS)
    return float(low), float(high)


def grouped_interval(
    groups: Sequence[str], figure: Callable[[NDArray[np.intp]], float | None]
) -> Interval | None:
    """The 95 % percentile bootstrap interval of a figure, drawn over groups such as patients.

    `figure` is asked with the numbers of the drawn cases; where it has no answer (None) the draw
    does not count. None if no draw counts.
    """
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(numbers == each) for each in range(len(names))]
    random = np.random.default_rng(_SEED)
    values = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(names), len(names))
        value = figure(np.concatenate([members[each] for each in drawn]))
        if value is not None:
            values.append(value)
    if not values:
        return None
    low, high = np.percentile(values, _BOUNDS)
    return float(low), float(high)


def student_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean of a handful of values, by Student's t.

    The bootstrap's is too narrow for them. None of fewer than two values.
    """
    from scipy.stats import t as student

    if len(values) < 2:
        return None
    mean, count = float(np.mean(values)), len(values)
    half = float(student.ppf(_BOUNDS[1] / 100, count - 1) * np.std(values, ddof=1) / count**0.5)
    return mean - half, mean + half


def grouped_mean_interval(groups: Sequence[str], values: Sequence[float]) -> Interval | None:
    """The same of the mean over cases, many times as fast as asking for each draw.

    None without values.
    """
    if not len(values):
        return None
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(numbers, np.asarray(values, float))
    counts = np.bincount(numbers)
    draws = np.random.default_rng(_SEED).integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, _BOUNDS)
    return float(low), float(high)

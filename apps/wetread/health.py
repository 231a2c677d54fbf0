"""How a model does over time: what it is given, and what it says of it.

Distributions by model only. What one image was and what was found in it stands in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping

from wetread import metrics
from wetread.errors import InputError, JobCancelledError
from wetread.results import FindingsResult, SegmentationResult
from wetread.study import Series

OUTCOMES = ("done", "refused", "failed", "put off", "cancelled")
"""How a run of a job may end."""


def count_reading(
    model: str,
    series: Series,
    result: SegmentationResult | FindingsResult,
    volumes_ml: Mapping[str, float],
) -> None:
    """Count a reading that is done; `volumes_ml` are those of its segments by label."""
    metrics.READINGS.labels(model, "done").inc()
    metrics.INPUT_IMAGES.labels(model).observe(series.image_count)
    if isinstance(series.slice_spacing_mm, float):
        metrics.INPUT_SPACING_MM.labels(model).observe(series.slice_spacing_mm)
    check = result.input_check
    if check is not None and check.limit > 0:
        metrics.INPUT_DISTANCE.labels(model).observe(check.distance / check.limit)
    for label, volume_ml in volumes_ml.items():
        metrics.SEGMENT_ML.labels(model, label).observe(volume_ml)
    if isinstance(result, FindingsResult):
        for label, probability in result.probabilities.items():
            metrics.PROBABILITY.labels(model, label).observe(probability)


def count_failure(model: str, error: BaseException, *, again: bool) -> None:
    """Count a run that came to nothing; `again` if it is put off."""
    metrics.READINGS.labels(model, _outcome(error, again=again)).inc()


def _outcome(error: BaseException, *, again: bool) -> str:
    if isinstance(error, JobCancelledError):
        return "cancelled"
    if again:
        return "put off"
    return "refused" if isinstance(error, InputError) else "failed"

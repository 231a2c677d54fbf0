"""One series, one model: load, infer, encode. What a job does, without the job around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from wetread.dicom.volume import SourceVolume, load_volume
from wetread.encode.registry import EncodedObject, encode
from wetread.explain.heat_map import heat_map_of
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel
from wetread.results import (
    Extent,
    FindingsResult,
    ResultContext,
    SegmentationResult,
    findings_in_words,
)
from wetread.study import Series


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading one series: objects to send, a sentence, seconds by stage, and volumes.

    `volumes_ml` is by segment label; findings and a projection have none.
    """

    source: SourceVolume
    result: SegmentationResult | FindingsResult
    objects: tuple[EncodedObject, ...]
    outcome: str
    seconds: Mapping[str, float]
    volumes_ml: Mapping[str, float]


AfterReading = Callable[[str, str, Series, SegmentationResult | FindingsResult], None]
"""Told the model, the job's id, the series and what was found, once that is on its way."""


def nothing_more(
    _model: str, _job_id: str, _series: Series, _result: SegmentationResult | FindingsResult
) -> None:
    """A reading is all that is wanted."""


def read_series_with(
    model: BundleModel, series: Series, context: ResultContext, progress: Progress = no_progress
) -> Reading:
    """Read `series` with `model` and write what it found as DICOM objects.

    `progress` is called with the stage ("load", "preprocess", "forward", "postprocess", for
    findings "explain", then "encode") and the share of it that is done; an error that it raises
    ends the reading.

    Raises InputError, InferenceError or EncodingError.
    """
    seconds: dict[str, float] = {}
    model.accepts(series)
    with _timed("load", seconds, progress):
        source = load_volume(series, max_voxels=model.max_voxels)
    result = model.read(source.volume, progress)
    seconds |= result.seconds
    if isinstance(result, FindingsResult):
        with _timed("explain", seconds, progress):
            result = replace(result, heat_map=heat_map_of(model, source.volume, result))
    with _timed("encode", seconds, progress):
        objects = encode(result, source, context)
    voxels, extent = voxels_of(result), source.extent
    outcome = outcome_of(result, voxels, extent)
    return Reading(source, result, objects, outcome, seconds, volumes_ml(voxels, extent))


@contextmanager
def _timed(stage: str, seconds: dict[str, float], progress: Progress) -> Iterator[None]:
    progress(stage, 0.0)
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started
    progress(stage, 1.0)


def voxels_of(result: SegmentationResult | FindingsResult) -> Mapping[str, int]:
    """How many voxels each segment has, by its label; findings have none."""
    if isinstance(result, FindingsResult):
        return {}
    return {each.label: int(result.mask_of(each).sum()) for each in result.segments}


def volumes_ml(voxels: Mapping[str, int], extent: Extent) -> Mapping[str, float]:
    """The volume of each segment by its label, in mL; none of a projection."""
    if extent.unit != "mL":
        return {}
    return {label: count * extent.amount for label, count in voxels.items()}


def outcome_of(
    result: SegmentationResult | FindingsResult, voxels: Mapping[str, int], extent: Extent
) -> str:
    """What was found as a person reads it, and a warning if the image is a strange one."""
    check = result.input_check
    doubt = [] if check is None or check.is_like_training else [check.text]
    if isinstance(result, FindingsResult):
        return "; ".join([findings_in_words(result), *doubt])
    return "; ".join([_sizes(voxels, extent), *doubt])


def _sizes(voxels: Mapping[str, int], extent: Extent) -> str:
    found = [f"{label} {extent.in_words(count)}" for label, count in voxels.items() if count]
    return ", ".join(found) or "nothing found"

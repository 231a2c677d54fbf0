"""A candidate that reads live studies beside the model in use, and delivers nothing.

It runs in one thread of low priority, after the result of the model in use is on its way. Nothing
waits for it: what it has no time for is skipped and counted, what goes wrong is recorded.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from wetread import metrics
from wetread.config import Config, EmbeddedModel
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.errors import (
    ConfigError,
    JobCancelledError,
    ModelContractError,
    WetreadError,
    codes_for,
)
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.models.kept import METADATA, WEIGHTS
from wetread.models.shadow_record import (
    ClassPair,
    Outcome,
    SegmentPair,
    ShadowRecord,
    append_record,
    records_file,
    shadow_folder,
)
from wetread.results import FindingsResult, SegmentationResult
from wetread.study import Series

log = structlog.get_logger()

# Studies that wait, each with the mask of the model in use in memory.
WAITING = 8
_LOWEST_PRIORITY = 19
_LOOK_SECONDS = 0.5
Result = SegmentationResult | FindingsResult


@dataclass(frozen=True, slots=True)
class _Offer:
    """A series that was read, and what was found."""

    model: str
    series: Series
    result: Result
    record: ShadowRecord


@dataclass(frozen=True, slots=True)
class _Opened:
    """A candidate, or why it cannot be opened, and of what state of its files that is true."""

    stamp: tuple[int, ...]
    model: BundleModel | None
    error: Exception | None


class Shadows:
    """The shadows of all models that have one; without any, nothing runs."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self._spool = config.spool.path
        self._candidates: Mapping[str, Path] = {
            name: model.shadow for name, model in config.models.items() if model.shadow
        }
        self._clock = clock
        self._offers: queue.Queue[_Offer] = queue.Queue(WAITING)
        self._missed: deque[_Offer] = deque(maxlen=1000)
        self._opened: dict[str, _Opened] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Read what is offered from now on."""
        if self._candidates:
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the reading under way, and give the networks back."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def offer(self, model: str, job_id: str, series: Series, result: Result) -> None:
        """A series that a model has read; returns at once, whatever the shadow does."""
        if model not in self._candidates:
            return
        record = ShadowRecord(
            at=datetime.fromtimestamp(self._clock(), UTC),
            job_id=job_id,
            study_instance_uid=series.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            current=result.model,
            candidate=None,
            outcome=Outcome.SKIPPED,
            reason=f"{WAITING} studies were waiting",
        )
        offer = _Offer(model, series, result, record)
        try:
            self._offers.put_nowait(offer)
        except queue.Full:
            self._missed.append(offer)

    def _run(self) -> None:
        # Of this thread alone, and of those that OpenVINO and torch start from it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while not self._stopping.is_set():
            self._keep_missed()
            try:
                offer = self._offers.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            try:
                self._keep(offer.model, self._compared(offer))
            except JobCancelledError as error:
                self._keep(offer.model, replace(offer.record, reason=error.message))
        while not self._offers.empty():
            offer = self._offers.get_nowait()
            self._keep(offer.model, replace(offer.record, reason="the gateway stopped"))
        self._keep_missed()
        for opened in self._opened.values():
            if opened.model is not None:
                opened.model.close()

    def _keep_missed(self) -> None:
        while self._missed:
            missed = self._missed.popleft()
            self._keep(missed.model, missed.record)

    def _keep(self, model: str, record: ShadowRecord) -> None:
        try:
            append_record(records_file(self._spool, model), record)
        except WetreadError as error:
            metrics.FAILURES.labels("shadow", codes_for(error).label).inc()
            log.error("a shadow's record is lost", model=model, reason=str(error), hint=error.hint)

    def _compared(self, offer: _Offer) -> ShadowRecord:
        try:
            model = self._model(offer.model)
            source = load_volume(offer.series)
            found = model.read(source.volume, self._until_stopped)
            return _record(offer, source, found)
        except JobCancelledError:
            raise
        except Exception as error:
            metrics.FAILURES.labels("shadow", codes_for(error).label).inc()
            log.error(
                "the shadow of a model failed",
                model=offer.model,
                job_id=offer.record.job_id,
                reason=str(error),
                exc_info=not isinstance(error, WetreadError),
            )
            return replace(offer.record, outcome=Outcome.FAILED, reason=str(error))

    def _until_stopped(self, _stage: str, _fraction: float) -> None:
        if self._stopping.is_set():
            raise JobCancelledError("the gateway stopped", hint="later studies are shadowed again")

    def _model(self, name: str) -> BundleModel:
        """The candidate, opened again if its files are others than when it was opened."""
        candidate = self._candidates[name]
        stamp = _stamp(candidate)
        opened = self._opened.get(name)
        if opened is None or opened.stamp != stamp:
            if opened is not None and opened.model is not None:
                opened.model.close()
            opened = self._opened[name] = self._open(name, candidate, stamp)
        if opened.model is None:
            raise opened.error or ConfigError(
                f"{candidate} cannot be opened", hint="see `shadow` of that model"
            )
        return opened.model

    def _open(self, name: str, candidate: Path, stamp: tuple[int, ...]) -> _Opened:
        repository = shadow_folder(self._spool, name) / "networks"
        try:
            # Its first use here: the networks are exported to a repository of their own.
            _build(candidate, repository)
            config = EmbeddedModel(bundle=candidate, threads=1)
            return _Opened(stamp, open_model(name, config, repository), None)
        except WetreadError as error:
            return _Opened(stamp, None, error)


def _build(candidate: Path, repository: Path) -> None:
    try:
        from wetread.models.export import build_models
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed, and a shadow's networks are exported here",
            hint="pip install 'wetread[export]'",
        ) from error
    build_models(candidate, repository, no_progress)


def _stamp(candidate: Path) -> tuple[int, ...]:
    found = [candidate / name for name in (METADATA, WEIGHTS)]
    return tuple(each.stat().st_mtime_ns if each.is_file() else 0 for each in found)


def _record(offer: _Offer, source: SourceVolume, found: Result) -> ShadowRecord:
    record = replace(offer.record, candidate=found.model, outcome=Outcome.COMPARED, reason="")
    result = offer.result
    if (
        isinstance(result, SegmentationResult)
        and isinstance(found, SegmentationResult)
        and (result.segments, result.segments_overlap) == (found.segments, found.segments_overlap)
    ):
        segments = {
            each.label: _pair(result.mask_of(each), found.mask_of(each), source.voxel_ml)
            for each in result.segments
        }
        return replace(record, segments=segments)
    if (
        isinstance(result, FindingsResult)
        and isinstance(found, FindingsResult)
        and set(result.probabilities) == set(found.probabilities)
    ):
        classes = {
            label: ClassPair(value, found.probabilities[label])
            for label, value in result.probabilities.items()
        }
        return replace(record, classes=classes)
    raise ModelContractError(
        f"{offer.model}: its shadow answers another question", hint="shadow a copy of its bundle"
    )


def _pair(one: NDArray[np.bool_], other: NDArray[np.bool_], voxel_ml: float) -> SegmentPair:
    both, sum_of_two = int((one & other).sum()), int(one.sum()) + int(other.sum())
    return SegmentPair(
        dice=2 * both / sum_of_two if sum_of_two else 1.0,
        current_ml=int(one.sum()) * voxel_ml,
        candidate_ml=int(other.sum()) * voxel_ml,
    )

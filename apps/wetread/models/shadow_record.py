"""What a shadow found beside the model in use: one line of JSON a study, and their summary."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

from wetread.errors import LedgerError, StorageError
from wetread.results import ModelIdentity

WORST = 5


class Outcome(StrEnum):
    """Compared; failed, with a reason; or skipped, since shadows were behind."""

    COMPARED = "compared"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class SegmentPair:
    """One segment by both: Dice of the two masks with each other, and the volume by each."""

    dice: float
    current_ml: float
    candidate_ml: float


@dataclass(frozen=True, slots=True)
class ClassPair:
    """The probability of one class by both, 0 to 1."""

    current: float
    candidate: float


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """One series that the model in use read; nothing of the shadow was delivered.

    A segmenter gives `segments`, a classifier `classes`, by label.
    """

    at: datetime
    job_id: str
    study_instance_uid: str
    series_instance_uid: str
    current: ModelIdentity
    candidate: ModelIdentity | None
    outcome: Outcome
    reason: str = ""
    segments: Mapping[str, SegmentPair] = field(default_factory=dict)
    classes: Mapping[str, ClassPair] = field(default_factory=dict)

    @property
    def mean_dice(self) -> float | None:
        """Over the segments; None of a classifier."""
        return fmean(each.dice for each in self.segments.values()) if self.segments else None

    @property
    def has_same_label(self) -> bool:
        """Whether the likeliest class is the same."""
        pairs = self.classes
        return max(pairs, key=lambda name: pairs[name].current) == max(
            pairs, key=lambda name: pairs[name].candidate
        )

    @property
    def distance(self) -> float:
        """How far apart the two are, 0 to 1: 1 − Dice, or the greatest difference of a class."""
        if self.segments:
            return 1 - (self.mean_dice or 0.0)
        gaps = [abs(each.candidate - each.current) for each in self.classes.values()]
        return max(gaps, default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "at": self.at.isoformat(), "outcome": str(self.outcome)}


def shadow_folder(spool: Path, model: str) -> Path:
    """Where the shadow of a model keeps its networks and, as `records.jsonl`, what it found."""
    return spool / "shadow" / quote(model, safe="")


def records_file(spool: Path, model: str) -> Path:
    """The lines of a model's shadow."""
    return shadow_folder(spool, model) / "records.jsonl"


def append_record(path: Path, record: ShadowRecord) -> None:
    """Add a line and sync it; one that was cut short by a crash goes. Raises StorageError."""
    line = json.dumps(record.as_dict(), ensure_ascii=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.truncate(_whole_lines(path))
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="free space on that disk"
        ) from error


def _whole_lines(path: Path) -> int:
    """The length up to the last end of a line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 1))
        if not size or file.read(1) == b"\n":
            return size
        file.seek(0)
        return file.read().rfind(b"\n") + 1


def read_records(path: Path) -> tuple[ShadowRecord, ...]:
    """The records of a file, the oldest first; none without a file. Raises LedgerError."""
    if not path.is_file():
        return ()
    text = path.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1].splitlines()
    return tuple(_record(path, number, line) for number, line in enumerate(lines, 1))


def _record(path: Path, number: int, line: str) -> ShadowRecord:
    try:
        values = json.loads(line)
        candidate = values["candidate"]
        return ShadowRecord(
            **{
                **values,
                "at": datetime.fromisoformat(values["at"]),
                "current": ModelIdentity(**values["current"]),
                "candidate": None if candidate is None else ModelIdentity(**candidate),
                "outcome": Outcome(values["outcome"]),
                "segments": {
                    label: SegmentPair(**each) for label, each in values["segments"].items()
                },
                "classes": {label: ClassPair(**each) for label, each in values["classes"].items()},
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(
            f"{path}: line {number} is no record of a shadow: {error}", hint="take the line out"
        ) from error


@dataclass(frozen=True, slots=True)
class Summary:
    """What all records on the newest pair of weights say; a series counts once, by its last record.

    `segments` have mean Dice and the mean of candidate − current in mL, `classes` the mean of the
    absolute difference; `same_label` is the share of series, None of a segmenter. `reason` is that
    of the last failure.
    """

    current: ModelIdentity | None
    candidate: ModelIdentity | None
    count: int
    failed: int
    skipped: int
    reason: str
    mean_dice: float | None
    segments: Mapping[str, Mapping[str, float]]
    classes: Mapping[str, float]
    same_label: float | None
    worst: tuple[ShadowRecord, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("current", "candidate"):
            values[name] = None if values[name] is None else asdict(values[name])
        return {**values, "worst": [each.as_dict() for each in self.worst]}


def summarise(records: Sequence[ShadowRecord]) -> Summary:
    """See `Summary`."""
    compared = [each for each in records if each.outcome is Outcome.COMPARED]
    current = compared[-1].current if compared else None
    candidate = compared[-1].candidate if compared else None
    newest = {
        each.series_instance_uid: each
        for each in compared
        if (each.current, each.candidate) == (current, candidate)
    }
    chosen = list(newest.values())
    failures = [each for each in records if each.outcome is Outcome.FAILED]
    dice = [each.mean_dice for each in chosen if each.mean_dice is not None]
    classified = [each.has_same_label for each in chosen if each.classes]
    return Summary(
        current=current,
        candidate=candidate,
        count=len(chosen),
        failed=len(failures),
        skipped=sum(each.outcome is Outcome.SKIPPED for each in records),
        reason=failures[-1].reason if failures else "",
        mean_dice=fmean(dice) if dice else None,
        segments=_by_segment(chosen),
        classes=_by_class(chosen),
        same_label=fmean(classified) if classified else None,
        worst=tuple(sorted(chosen, key=lambda each: -each.distance)[:WORST]),
    )


def _by_segment(records: Iterable[ShadowRecord]) -> dict[str, dict[str, float]]:
    found: dict[str, list[SegmentPair]] = {}
    for record in records:
        for label, pair in record.segments.items():
            found.setdefault(label, []).append(pair)
    return {
        label: {
            "mean_dice": fmean(each.dice for each in pairs),
            "mean_difference_ml": fmean(each.candidate_ml - each.current_ml for each in pairs),
        }
        for label, pairs in found.items()
    }


def _by_class(records: Iterable[ShadowRecord]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for record in records:
        for label, pair in record.classes.items():
            found.setdefault(label, []).append(abs(pair.candidate - pair.current))
    return {label: fmean(gaps) for label, gaps in found.items()}

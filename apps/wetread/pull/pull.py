"""Old studies of an archive: found by C-FIND, sent by C-MOVE, taken in by the ordinary listener.

The gateway is another process. What it has received stands in the ledger, which is watched here,
so a command that was cut short goes on where it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from threading import Event

from pydicom import Dataset

from wetread.audit import events as audit
from wetread.config import ArchiveConfig
from wetread.deliver.peers import archive_peer
from wetread.dicom.network import Peer
from wetread.dicom.retrieve import (
    MOVE_DESTINATION_UNKNOWN,
    STUDY_ROOT_FIND,
    Cancellation,
    MoveOutcome,
    encoded_identifier,
    find,
    move,
)
from wetread.errors import (
    AssociationRejectedError,
    ConfigError,
    DeliveryError,
    InputError,
    RetrieveRefusedError,
    WetreadError,
)
from wetread.ledger import Ledger
from wetread.pull.query import (
    Wanted,
    instance_identifier,
    number_of,
    series_move,
    study_move,
    without_patient,
)

LOOK_SECONDS = 0.2
# An archive may send by itself for a while after it has said that it is done.
SETTLE_SECONDS = 10.0
MOST_FAILURES_IN_A_ROW = 3


class PullState(StrEnum):
    """What became of one study."""

    HERE = "here already"
    FOUND = "found"
    FETCHED = "fetched"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LEFT = "not asked for"


@dataclass(frozen=True, slots=True)
class Found:
    """A study of the archive: the wanted series with their numbers of instances."""

    study_instance_uid: str
    study_date: str
    description: str
    series: dict[str, int]
    whole: bool
    here: int

    @property
    def matched(self) -> int:
        """Instances that are wanted."""
        return sum(self.series.values())


@dataclass(frozen=True, slots=True)
class Pulled:
    """A study and what became of it; `arrived` is what the ledger has of `found.matched`."""

    found: Found
    state: PullState
    outcome: MoveOutcome = field(default_factory=MoveOutcome)
    arrived: int = 0
    reason: str = ""
    hint: str = ""


Progress = Callable[[str, float], None]


class Puller:
    """One archive, asked for what is `wanted`. Raises ConfigError if its TLS cannot be used."""

    def __init__(
        self,
        name: str,
        config: ArchiveConfig,
        ledger: Ledger,
        own_ae_title: str,
        *,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._name = name
        self._config = config
        self._ledger = ledger
        self._destination = config.move_destination or own_ae_title
        self._peer: Peer = archive_peer(name, config)
        self._now = now
        self.cancellation = Cancellation()
        self._broken = Event()

    def find(self, wanted: Wanted, progress: Progress) -> tuple[list[Found], int]:
        """The studies that fit, oldest first, and the number of answers that did not.

        Raises as `dicom.retrieve.find`, and LedgerError.
        """
        identifier = wanted.study_identifier()
        query = encoded_identifier(without_patient(identifier))
        self._ledger.trail.record(audit.queried(self._name, STUDY_ROOT_FIND, query))
        answers = find(self._peer, identifier)
        fitting = {str(each.StudyInstanceUID): each for each in answers if wanted.has_study(each)}
        found: list[Found] = []
        for index, (uid, match) in enumerate(sorted(fitting.items(), key=_age)):
            if self.cancellation.is_requested:
                break
            progress(f"study {index + 1} of {len(fitting)}", index / len(fitting))
            study = self._look_into(uid, match, wanted)
            if study.series:
                found.append(study)
        return found, len(answers) - len(found)

    def _look_into(self, uid: str, match: Dataset, wanted: Wanted) -> Found:
        every = find(self._peer, wanted.series_identifier(uid))
        fitting = {str(each.SeriesInstanceUID): each for each in every if wanted.has_series(each)}
        series = {name: self._count(uid, name, each) for name, each in fitting.items()}
        return Found(
            study_instance_uid=uid,
            study_date=str(match.get("StudyDate") or ""),
            description=str(match.get("StudyDescription") or ""),
            series=series,
            whole=len(fitting) == len({str(each.SeriesInstanceUID) for each in every}),
            here=self._here(uid, series),
        )

    def _count(self, study: str, series: str, match: Dataset) -> int:
        told = number_of(match, "NumberOfSeriesRelatedInstances")
        return len(find(self._peer, instance_identifier(study, series))) if told is None else told

    def _here(self, study: str, series: dict[str, int]) -> int:
        counts = self._ledger.studies.instances_by_series(study)
        return sum(min(counts.get(name, 0), wanted) for name, wanted in series.items())

    def pull(self, found: Sequence[Found], progress: Progress) -> list[Pulled]:
        """Have them sent, so many at once as the settings say; each gets its outcome.

        Stops where going on cannot help: the archive does not know us or where to send to, or
        failed several times in a row. Raises LedgerError.
        """
        done: list[Pulled] = []
        failures = 0
        with ThreadPoolExecutor(self._config.studies_at_once) as pool:
            for pulled in pool.map(self._one, found):
                done.append(pulled)
                failures = failures + 1 if pulled.state is PullState.FAILED else 0
                if failures >= MOST_FAILURES_IN_A_ROW:
                    self._broken.set()
                progress(f"{len(done)} of {len(found)} studies", len(done) / len(found))
        return done

    def _one(self, found: Found) -> Pulled:
        if found.here >= found.matched:
            return Pulled(found, PullState.HERE, arrived=found.here)
        self._wait_for_the_hour()
        if self._broken.is_set() or self.cancellation.is_requested:
            return Pulled(found, PullState.LEFT, arrived=found.here)
        self._ledger.trail.record(
            audit.asked("pull", "archive", self._name, found.study_instance_uid)
        )
        try:
            outcome = self._move(found)
        except (DeliveryError, InputError) as error:
            return self._failed(found, error)
        arrived = self._arrived(found, outcome)
        self.cancellation.wait(self._config.pause_seconds)
        return _judged(found, outcome, arrived)

    def _failed(self, found: Found, error: WetreadError) -> Pulled:
        unknown = (
            isinstance(error, RetrieveRefusedError) and error.status == MOVE_DESTINATION_UNKNOWN
        )
        if unknown or isinstance(error, AssociationRejectedError):
            self._broken.set()
        arrived = self._here(found.study_instance_uid, found.series)
        message, hint = error.message, error.hint
        return Pulled(found, PullState.FAILED, arrived=arrived, reason=message, hint=hint)

    def _move(self, found: Found) -> MoveOutcome:
        uid = found.study_instance_uid
        whole = found.whole
        moves = [study_move(uid)] if whole else [series_move(uid, each) for each in found.series]
        peer = replace(self._peer, timeout_seconds=self._config.move_timeout_seconds)
        total = MoveOutcome()
        for identifier in moves:
            if total.cancelled:
                break
            total = _sum(
                total, move(peer, identifier, self._destination, cancellation=self.cancellation)
            )
        return total

    def _arrived(self, found: Found, outcome: MoveOutcome) -> int:
        """What the ledger has, once it has all that the archive says it sent, or is quiet."""
        said = min(found.matched, outcome.completed + outcome.warnings)
        arrived = self._here(found.study_instance_uid, found.series)
        quiet_since = time.monotonic()
        while arrived < said and time.monotonic() - quiet_since < SETTLE_SECONDS:
            if self.cancellation.wait(LOOK_SECONDS):
                break
            before, arrived = arrived, self._here(found.study_instance_uid, found.series)
            if arrived > before:
                quiet_since = time.monotonic()
        return arrived

    def _wait_for_the_hour(self) -> None:
        while not within_hours(self._config.hours, self._now()):
            if self._broken.is_set() or self.cancellation.wait(LOOK_SECONDS):
                return


def within_hours(hours: str, now: datetime) -> bool:
    """Whether it is between the two times of the day, "22:00-06:00"; "" is always."""
    if not hours:
        return True
    begin, end = hours.split("-")
    time_of_day = f"{now:%H:%M}"
    if begin <= end:
        return begin <= time_of_day < end
    return time_of_day >= begin or time_of_day < end


def limited(found: Sequence[Found], limit: int) -> list[Found]:
    """All that are here already, and of the others the first `limit`. Raises ConfigError."""
    if limit < 1:
        raise ConfigError(
            f"--limit {limit} fetches nothing", hint="leave it out, or give 1 or more"
        )
    kept: list[Found] = []
    for each in found:
        missing = each.here < each.matched
        if missing and limit == 0:
            continue
        limit -= missing
        kept.append(each)
    return kept


def _judged(found: Found, outcome: MoveOutcome, arrived: int) -> Pulled:
    if outcome.cancelled:
        return Pulled(found, PullState.CANCELLED, outcome, arrived)
    if arrived >= found.matched:
        return Pulled(found, PullState.FETCHED, outcome, arrived)
    if outcome.failed:
        reason = f"the archive could not send {outcome.failed} of {found.matched} instances"
        hint = "see that the gateway runs, and that accept_calling_ae_titles names the archive"
    elif outcome.completed + outcome.warnings > arrived:
        reason = "the archive says that it sent what this gateway has not received"
        hint = "see to which host and port the archive sends for this AE title"
    else:
        reason = "the archive sent less than it says it has"
        hint = "look at the archive's log; the same command asks for the rest again"
    return Pulled(found, PullState.INCOMPLETE, outcome, arrived, reason, hint)


def _sum(one: MoveOutcome, other: MoveOutcome) -> MoveOutcome:
    return MoveOutcome(
        one.completed + other.completed,
        one.failed + other.failed,
        one.warnings + other.warnings,
        one.remaining + other.remaining,
        one.cancelled or other.cancelled,
    )


def _age(item: tuple[str, Dataset]) -> tuple[str, str]:
    return str(item[1].get("StudyDate") or ""), item[0]

"""What people see of the archive and store there, as events of the audit trail."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import structlog
from starlette.concurrency import run_in_threadpool

from wetread.audit import events
from wetread.audit.actor import current_actor
from wetread.audit.events import Message
from wetread.errors import LedgerError

log = structlog.get_logger()

LOOK_SECONDS = 3600.0
_MOST_LOOKS = 10_000
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_STUDY = re.compile(r"studies/([\d.]+)")
_STORED = re.compile(rb"studies/([\d.]+)/series/[\d.]+/instances/([\d.]+)")


class Witness:
    """Tells `record` of each search, of each object that is stored, and of looks at a study.

    Somebody who looks at a study asks for hundreds of its parts: that is one event an hour for a
    person at an address. `archive` is what the trail calls the archive.
    """

    def __init__(
        self,
        record: Callable[[Message], None],
        archive: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record, self._archive, self._clock = record, archive, clock
        self._lock = threading.Lock()
        # By person, address and study, the oldest first: when it was recorded.
        self._looks: dict[tuple[str, str, str], float] = {}

    async def saw(self, path: str, keys: list[str]) -> None:
        """Note what the acting person is about to see, by `keys` of a search.

        Raises LedgerError; it must not be shown then.
        """
        study = _STUDY.match(path)
        if study is None:
            # What was searched for may be a patient.
            query = ", ".join(keys).encode()
            event = events.queried(self._archive, _STUDY_ROOT_FIND, query)
            await run_in_threadpool(self._record, event)
        elif self._is_due(study[1]):
            try:
                await run_in_threadpool(self._record, events.viewed(study[1]))
            except LedgerError:
                self._forget(study[1])
                raise

    async def stored(self, answer: bytes) -> None:
        """Note what the acting person has stored, by the archive's answer (PS3.18 10.5.3)."""
        found: dict[str, list[str]] = defaultdict(list)
        for study, instance in _STORED.findall(answer):
            found[study.decode()].append(instance.decode())
        for study, instances in found.items():
            event = events.stored(study, self._archive, sorted(set(instances)))
            try:
                await run_in_threadpool(self._record, event)
            except LedgerError as error:
                # It lies in the archive all the same; to say otherwise would have it sent again.
                log.error("a store is not in the audit trail", study=study, reason=str(error))

    def _is_due(self, study: str) -> bool:
        key, now = _key(study), self._clock()
        with self._lock:
            if now - self._looks.get(key, now - LOOK_SECONDS) < LOOK_SECONDS:
                return False
            self._looks.pop(key, None)
            self._looks[key] = now
            if len(self._looks) > _MOST_LOOKS:
                del self._looks[next(iter(self._looks))]
        return True

    def _forget(self, study: str) -> None:
        with self._lock:
            self._looks.pop(_key(study), None)


def _key(study: str) -> tuple[str, str, str]:
    actor = current_actor()
    return (actor.name, actor.address, study) if actor else ("", "", study)

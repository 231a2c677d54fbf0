"""What people see of the archive and store there, as events of the audit trail."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

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
_ADDRESS = re.compile(rb"studies/([\d.]+)/series/[\d.]+/instances/([\d.]+)")
_UNKNOWN = "unknown"
_Key = tuple[str, str, str]


class Witness:
    """Tells `record` of each search, of each object that is stored, and of looks at a study.

    Somebody who looks at a study asks for hundreds of its parts: that is one event an hour for a
    person at an address. `archive` is what the trail calls the archive. It belongs to one event
    loop.
    """

    def __init__(
        self,
        record: Callable[[Message], None],
        archive: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record, self._archive, self._clock = record, archive, clock
        # By person, address and study, the oldest first: when it was recorded.
        self._looks: dict[_Key, float] = {}
        self._under_way: dict[_Key, asyncio.Task[None]] = {}

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
        else:
            await self._looked(study[1])

    async def stored(self, path: str, answer: bytes) -> None:
        """Note what the acting person has stored at `path`, by the archive's answer to that.

        See PS3.18 10.5.3. It lies in the archive by now, so what cannot be noted is an error of
        the log.
        """
        at = _STUDY.match(path)
        found: dict[str, list[str]] = defaultdict(list)
        for study, instance in _references(answer):
            found[study or (at[1] if at else _UNKNOWN)].append(instance)
        for study, instances in found.items():
            await self._note(events.stored(study, self._archive, sorted(set(instances))))
        if not found:
            await self.stored_perhaps(path, "the archive's answer names nothing that is stored")

    async def stored_perhaps(self, path: str, why: str) -> None:
        """Note that something was sent to be stored at `path`, and nobody knows whether it was."""
        at = _STUDY.match(path)
        await self._note(events.stored(at[1] if at else _UNKNOWN, self._archive, (), why))

    async def _note(self, event: Message) -> None:
        try:
            await run_in_threadpool(self._record, event)
        except LedgerError as error:
            log.error("a store is not in the audit trail", reason=error.message)

    async def _looked(self, study: str) -> None:
        actor = current_actor()
        key = (actor.name, actor.address, study) if actor else ("", "", study)
        now = self._clock()
        if now - self._looks.get(key, now - LOOK_SECONDS) < LOOK_SECONDS:
            return
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._record_look(key))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key))
        # Of the requests that wait for it, one may be given up.
        await asyncio.shield(task)

    async def _record_look(self, key: _Key) -> None:
        await run_in_threadpool(self._record, events.viewed(key[2]))
        self._looks.pop(key, None)
        self._looks[key] = self._clock()
        if len(self._looks) > _MOST_LOOKS:
            del self._looks[next(iter(self._looks))]


def _references(answer: bytes) -> Iterator[tuple[str, str]]:
    """Study, "" if it is not said, and instance of each item of the Referenced SOP Sequence."""
    try:
        found = json.loads(answer)
    except ValueError:
        # As XML; only what is stored has an address.
        yield from ((study.decode(), uid.decode()) for study, uid in _ADDRESS.findall(answer))
        return
    for each in found if isinstance(found, list) else [found]:
        whole = _STUDY.search(_value(each, "00081190"))
        for item in each.get("00081199", {}).get("Value", []) if isinstance(each, dict) else []:
            at = _STUDY.search(_value(item, "00081190")) or whole
            instance = _value(item, "00081155")
            if instance:
                yield at[1] if at else "", instance


def _value(dataset: Any, tag: str) -> str:
    if not isinstance(dataset, dict):
        return ""
    values = dataset.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""

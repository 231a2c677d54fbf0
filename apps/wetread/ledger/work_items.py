"""The book of work items that a worklist has given to this gateway (PS3.4 Annex CC)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, select, update

from wetread.ledger.book import Book
from wetread.ledger.database import insert_once, take_turn
from wetread.ledger.tables import work_item_turns, work_items


class WorkItemState(StrEnum):
    """How far a work item has come here. `LOST` is one that others have, or have ended."""

    CLAIMING = "claiming"
    WORKING = "working"
    COMPLETED = "completed"
    CANCELED = "canceled"
    LOST = "lost"


_OPEN = (WorkItemState.CLAIMING, WorkItemState.WORKING)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One work item; its jobs are known once its input is here and was judged."""

    workitem_uid: str
    transaction_uid: str
    state: WorkItemState
    code: str
    study_instance_uid: str
    fetched: bool
    job_ids: tuple[str, ...]
    claimed_at: float


class WorkItems(Book):
    """What is claimed stands here before the worklist is told, so a crash forgets nothing."""

    def take_turn(self, owner: str, seconds: float) -> bool:
        """Whether `owner` may work on the worklist: one process does, until it has been silent."""
        now = self._now()
        row = {"name": "worklist", "owner": owner, "until": now + seconds}
        with self._transaction() as connection:
            return take_turn(connection, work_item_turns, row, now) is not None

    def begin(
        self, workitem_uid: str, transaction_uid: str, code: str, study: str
    ) -> WorkItem | None:
        """Note that an item is about to be claimed; None if it was ever."""
        values = {
            "workitem_uid": workitem_uid,
            "transaction_uid": transaction_uid,
            "state": WorkItemState.CLAIMING,
            "code": code,
            "study_instance_uid": study,
            "fetched": False,
            "job_ids": "[]",
            "claimed_at": self._now(),
        }
        with self._transaction() as connection:
            is_new = insert_once(connection, work_items, values)
        return self.get(workitem_uid) if is_new else None

    def open(self) -> tuple[WorkItem, ...]:
        """Those that are not ended, oldest first."""
        query = select(work_items).where(work_items.c.state.in_(_OPEN))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(work_items.c.claimed_at)).all()
        return tuple(map(_item, rows))

    def get(self, workitem_uid: str) -> WorkItem | None:
        """One of them, if it was ever claimed."""
        query = select(work_items).where(work_items.c.workitem_uid == workitem_uid)
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _item(row)

    def working(self, item: WorkItem) -> None:
        """The worklist has given it to us."""
        self._change(item, "is ours", state=WorkItemState.WORKING)

    def fetched(self, item: WorkItem) -> None:
        """Its input is in the spool."""
        self._change(item, "input is fetched", fetched=True)

    def asked(self, item: WorkItem, job_ids: tuple[str, ...]) -> None:
        """These jobs are what it asks for."""
        self._change(item, f"{len(job_ids)} jobs", job_ids=json.dumps(job_ids))

    def ended(self, item: WorkItem, state: WorkItemState, reason: str = "") -> None:
        """Nothing more is done for it."""
        self._change(item, f"{state}: {reason}" if reason else str(state), state=state)

    def _change(self, item: WorkItem, event: str, **values: Any) -> None:
        this = work_items.c.workitem_uid == item.workitem_uid
        with self._transaction() as connection:
            connection.execute(update(work_items).where(this).values(**values))
            said = f"work item {item.workitem_uid}: {event}"
            self._note(connection, item.study_instance_uid, "worklist", said)


def _item(row: Row[Any]) -> WorkItem:
    return WorkItem(
        workitem_uid=row.workitem_uid,
        transaction_uid=row.transaction_uid,
        state=WorkItemState(row.state),
        code=row.code,
        study_instance_uid=row.study_instance_uid,
        fetched=row.fetched,
        job_ids=tuple(json.loads(row.job_ids)),
        claimed_at=row.claimed_at,
    )

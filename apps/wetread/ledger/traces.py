"""The book of traces: which generations of a study have been exported."""

from __future__ import annotations

from sqlalchemy import select

from wetread.ledger.book import Book
from wetread.ledger.database import insert_once
from wetread.ledger.records import StudyState
from wetread.ledger.tables import studies, traces

_DECIDED = (StudyState.ROUTED, StudyState.FAILED)


class Traces(Book):
    """One trace for each generation of a study, once."""

    def waiting(self, study: str) -> tuple[int, ...]:
        """The generations that are decided, and whose trace was not exported; oldest first."""
        exported = select(traces.c.generation).where(traces.c.study_instance_uid == study)
        query = select(studies.c.generation).where(
            studies.c.study_instance_uid == study,
            studies.c.state.in_(_DECIDED),
            studies.c.generation.not_in(exported),
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(studies.c.generation)).all()
        return tuple(row.generation for row in rows)

    def exported(self, study: str, generation: int) -> None:
        """Note that a collector has the trace."""
        row = {"study_instance_uid": study, "generation": generation, "exported_at": self._now()}
        with self._transaction() as connection:
            insert_once(connection, traces, row)

"""One label of one image by one reader, and which of several is the image's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lib.people.reviews import State, Step


@dataclass(frozen=True)
class Drawing:
    """`id` never names two contents; `at` is ISO 8601. A consensus is of several `readers`.

    `info` is what is kept beside it: its provenance.
    """

    id: str
    image_id: str
    bundle: str
    annotator: str
    at: str
    is_proposal: bool = False
    is_consensus: bool = False
    readers: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first_state(self) -> State:
        """Before anybody has reviewed it."""
        return State.PROPOSED if self.is_proposal else State.CORRECTED

    @property
    def authors(self) -> frozenset[str]:
        """Whose it is: nobody of them may approve it."""
        return frozenset({self.annotator, *self.readers})


class Reviewable(Protocol):
    """What a choice needs to know of a label."""

    @property
    def id(self) -> str:
        """See Drawing."""
        ...

    @property
    def is_proposal(self) -> bool:
        """See Drawing."""
        ...

    @property
    def is_consensus(self) -> bool:
        """See Drawing."""
        ...


T = TypeVar("T", bound=Reviewable)


def the_label(drawings: Sequence[T], last: Mapping[str, Step]) -> T | None:
    """Which of them, the oldest first, is the label of the image and is trained on.

    The one that was approved last; else the newest consensus; else the newest that a reader saved.
    Never a proposal, nor one that was returned.
    """

    def rank(place: int) -> tuple[int, float, int]:
        each = drawings[place]
        step = last.get(each.id)
        if step is not None and step.state == State.APPROVED:
            return 2, step.at, place
        return int(each.is_consensus), 0.0, place

    standing = [
        place
        for place, each in enumerate(drawings)
        if not each.is_proposal and not (each.id in last and last[each.id].state == State.RETURNED)
    ]
    return drawings[max(standing, key=rank)] if standing else None


def newest_of_each(drawings: Sequence[Drawing], last: Mapping[str, Step]) -> list[Drawing]:
    """The newest label of each reader that was not returned, by name; no proposal or consensus."""
    found: dict[str, Drawing] = {}
    for each in drawings:
        returned = each.id in last and last[each.id].state == State.RETURNED
        if not (each.is_proposal or each.is_consensus or returned):
            found[each.annotator] = each
    return [found[name] for name in sorted(found)]

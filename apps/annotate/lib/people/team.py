"""All that is known of those who draw the images of one folder or archive."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lib.people.holds import Holds
from lib.people.ledger import Ledger
from lib.people.proposals import Proposals
from lib.people.reviews import Reviews


@dataclass(frozen=True)
class Team:
    """`drawings` is where a folder of images keeps each reader's labels."""

    holds: Holds
    reviews: Reviews
    proposals: Proposals
    drawings: Path


def open_team(
    folder: Path, studies: str, *, has_users: bool, clock: Callable[[], float] = time.time
) -> Team:
    """Of those studies: what another folder or archive has under the same ids is another's."""
    place = folder / "people" / sha256(studies.encode()).hexdigest()[:16]
    ledger = Ledger(place / "ledger.sqlite3", clock)
    return Team(
        holds=Holds(ledger),
        reviews=Reviews(ledger, has_users=has_users),
        proposals=Proposals(place / "proposals", ledger),
        drawings=place / "drawings",
    )

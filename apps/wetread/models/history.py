"""Who promoted what, when, on which figures: `.promotions/history.json` of a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError
from wetread.files import write_atomically
from wetread.infer.served import PROMOTIONS
from wetread.results import ModelIdentity

HISTORY = f"{PROMOTIONS}/history.json"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Action(StrEnum):
    """What was done."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Entry:
    """One promotion, refusal or rollback, by number from 1.

    `before` and `after` are what was served; `after` is None for a refusal. `reason` is a person's
    for a rollback, and what stood against it for a refusal. `undoes` is the number of the promotion
    that a rollback undid. `report` is the page, relative to the bundle where it lies in it.
    """

    number: int
    action: Action
    at: datetime
    by: str
    before: ModelIdentity
    after: ModelIdentity | None
    reason: str = ""
    candidate: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    report: str = ""
    undoes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "action": str(self.action), "at": self.at.isoformat()}


def entry_of(values: Mapping[str, Any]) -> Entry:
    """The entry that `as_dict` gave. Raises KeyError, TypeError or ValueError."""
    after = values["after"]
    return Entry(
        **{
            **values,
            "action": Action(values["action"]),
            "at": datetime.fromisoformat(values["at"]),
            "before": ModelIdentity(**values["before"]),
            "after": None if after is None else ModelIdentity(**after),
        }
    )


def read_history(bundle: Path) -> tuple[Entry, ...]:
    """The entries of a bundle, the oldest first. Raises ConfigError if they cannot be read."""
    path = bundle / HISTORY
    if not path.is_file():
        return ()
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return tuple(entry_of(row) for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no history of promotions: {error}", hint="restore it from a backup"
        ) from error


def append_entry(bundle: Path, entry: Entry) -> None:
    """Add an entry, unless one of its number is there. Raises ConfigError or StorageError."""
    entries = read_history(bundle)
    if any(each.number == entry.number for each in entries):
        return
    rows = [each.as_dict() for each in (*entries, entry)]
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    write_atomically(bundle / HISTORY, [text.encode()])


def next_number(bundle: Path, entries: Sequence[Entry]) -> int:
    """One more than any so far, in the history or of a state that is kept."""
    kept = (int(each.name) for each in (bundle / PROMOTIONS).glob("*") if each.name.isdecimal())
    return max([*(each.number for each in entries), *kept], default=0) + 1


def promotion_to_undo(entries: Sequence[Entry]) -> Entry | None:
    """The last promotion that no rollback undid; None if there is none."""
    undone = {each.undoes for each in entries}
    promotions = [each for each in entries if each.action is Action.PROMOTED]
    return next((each for each in reversed(promotions) if each.number not in undone), None)


def next_version(current: str, entries: Sequence[Entry]) -> str:
    """The next patch of a version, beyond any that was ever promoted: none names two contents.

    Raises ConfigError if the version is not of the form 1.2.3.
    """
    match = _VERSION.fullmatch(current)
    if match is None:
        raise ConfigError(
            f"version {current!r} in metadata.json has no patch number",
            hint='write it as "1.2.3" and seal the bundle',
        )
    line = match[1], match[2]
    used = [_VERSION.fullmatch(each.after.version) for each in entries if each.after]
    patches = [int(each[3]) for each in used if each and (each[1], each[2]) == line]
    return f"{line[0]}.{line[1]}.{max([int(match[3]), *patches]) + 1}"

"""Why a process failed, from its last words."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from lib.guard.answers import without_paths

_ERROR = re.compile(r"(?:[A-Za-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Interrupt|Exit))(: .*)?")


def reason_of(lines: Sequence[str], code: int) -> str:
    """The error that its output ends with, or the signal that ended it; without paths.

    `code` is as subprocess gives it: below 0 for a signal.
    """
    said = without_paths(lines[-1].strip()) if lines else "nothing"
    if code < 0:
        hint = ": was there too little memory?" if -code == signal.SIGKILL else ""
        return f"it was ended by {signal.Signals(-code).name}{hint}; its last line: {said}"
    for line in reversed(lines):
        words = _ERROR.fullmatch(line.strip())
        if words:
            return without_paths((words[2] or words[1]).removeprefix(": "))
    return f"it ended with {code}; its last line: {said}"

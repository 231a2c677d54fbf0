"""UIDs of results, derived from what they were made of.

The same job always gets the same UIDs, so that a job that runs again after a crash writes the
object it would have written before. A job that a person starts again is a new attempt with new
UIDs: one SOP Instance UID never names two contents.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from wetread import __version__

# Any fixed value serves; it keeps our derived UUIDs apart from everybody else's.
_NAMESPACE = uuid.UUID("6f0a2c52-3f6e-5d5e-9b0a-0d6a3f7c51e4")


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2, UUID derived) that depends on `parts` alone."""
    # The unit separator cannot stand in a UID or a name, so ("ab", "c") and ("a", "bc") differ.
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0x1F).join(parts)).int}"


IMPLEMENTATION_CLASS_UID = derived_uid("implementation class", "wetread")
"""Of everything that this program writes and says (PS3.7 D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME = f"WETREAD_{__version__}"[:16]


def job_uid(
    sop_instance_uids: Iterable[str], model: str, weights_sha256: str, generation: int, attempt: int
) -> str:
    """The UID of one run of `model` on the given instances; their order does not matter."""
    return derived_uid(
        "job", *sorted(sop_instance_uids), model, weights_sha256, str(generation), str(attempt)
    )


def result_uid(job: str, kind: str) -> str:
    """The UID of one object of a job; `kind` is "SEG", "SR", "SC", "SEG series", …"""
    return derived_uid("result", job, kind)

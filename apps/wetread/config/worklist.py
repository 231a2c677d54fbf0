"""The table [worklist]: work that a UPS-RS worklist has for this gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from wetread.config.base import PositiveSeconds, Section


class WorklistConfig(Section):
    """A UPS-RS origin server whose work items are performed; `url` is its service root, "" is none.

    `codes` give for each Scheduled Workitem Code, "VALUE^SCHEME", the rule that its input is for.
    Inputs are fetched from `archive`, the service root of a DICOMweb origin. User, password and
    token are for both.
    """

    url: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""
    archive: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""
    codes: dict[Annotated[str, Field(pattern=r"^[^^]{1,16}\^[^^]{1,16}$")], str] = Field(
        default_factory=dict
    )
    poll_seconds: PositiveSeconds = 10.0
    timeout_seconds: PositiveSeconds = 60.0
    give_up_seconds: PositiveSeconds = 3600.0
    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    user: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.url and not (self.archive and self.codes):
            raise ValueError("a worklist needs an archive to fetch from, and codes")
        return self

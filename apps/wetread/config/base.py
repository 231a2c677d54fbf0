"""What the tables of wetread.toml are made of."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from wetread.results import Kind


def _checked_ae_title(value: str) -> str:
    """An AE title is 1 to 16 printable ASCII characters without a backslash (PS3.5 6.2)."""
    title = value.strip(" ")
    if not 1 <= len(title) <= 16:
        raise ValueError("an AE title has 1 to 16 characters")
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]+", title):
        raise ValueError("an AE title has printable ASCII characters only, and no backslash")
    return title


def as_tuple(value: object) -> object:
    """Let `"MR"` stand for `["MR"]`."""
    return (value,) if isinstance(value, str) else value


AETitle = Annotated[str, AfterValidator(_checked_ae_title)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(as_tuple)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of wetread.toml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

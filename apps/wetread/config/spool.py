"""The tables of the spool, and of the object storage behind it, in wetread.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from wetread.config.base import PositiveSeconds, Section


class ShareConfig(Section):
    """A bucket that has every file of the spool, for machines without a disk in common.

    Without `access_key` the credentials are those of the environment or of the machine. A file of
    the spool that nobody has used for `keep_hours` is fetched again when it is wanted.
    """

    url: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]+(/[^/]+)*$")]
    endpoint_url: Annotated[str, Field(pattern=r"^(https?://.+|)$")] = ""
    region: str = ""
    access_key: str = ""
    secret_key_file: Path | None = None
    keep_hours: Annotated[float, Field(ge=1)] = 24.0
    timeout_seconds: PositiveSeconds = 30.0

    @model_validator(mode="after")
    def _keys_are_whole(self) -> Self:
        if bool(self.access_key) != (self.secret_key_file is not None):
            raise ValueError("access_key and secret_key_file go together")
        return self


class SpoolConfig(Section):
    """Where received instances and results lie, and how much of the disk stays free."""

    path: Path = Path("spool")
    min_free_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    share: ShareConfig | None = None

"""The table [traces]: where the story of each study goes as an OpenTelemetry trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from wetread.config.base import PositiveSeconds, Section


class TracesConfig(Section):
    """A collector that takes OTLP over HTTP; `endpoint` is its base, "" is none."""

    endpoint: Annotated[str, Field(pattern=r"^(https?://[^/].*)?$")] = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    retry_seconds: PositiveSeconds = 30.0
    timeout_seconds: PositiveSeconds = 10.0

    @model_validator(mode="after")
    def _tls_is_meant(self) -> Self:
        if self.ca_file and not self.endpoint.startswith("https://"):
            raise ValueError("ca_file is given, but endpoint is not https://")
        return self

"""The table [audit]: where the audit trail also goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from wetread.config.base import PositiveSeconds, Section


class AuditConfig(Section):
    """A syslog server that gets the audit trail while a gateway runs; "" is none.

    `udp://` is PS3.15 A.7 and cannot tell whether anything arrived; `tls://` is A.6, `tcp://` the
    same without TLS.
    """

    syslog: Annotated[str, Field(pattern=r"^((udp|tcp|tls)://[^/]+:\d+)?$")] = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    certificate_name: str = ""
    retry_seconds: PositiveSeconds = 10.0
    timeout_seconds: PositiveSeconds = 10.0

    @model_validator(mode="after")
    def _tls_is_meant(self) -> Self:
        named = (self.ca_file, self.certificate_file, self.key_file, self.certificate_name)
        if any(named) and not self.syslog.startswith("tls://"):
            raise ValueError("files of certificates are given, but syslog is not tls://")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self

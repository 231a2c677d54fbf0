"""An authority and certificates that it signed, by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

OPENSSL = "/usr/bin/openssl"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """`own` signs every certificate that it issues."""

    folder: Path
    own: Pair

    def issue(self, name: str) -> Pair:
        """A certificate for a host of that name."""
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        _openssl(
            *("req", "-x509", *_KEY, "-keyout", pair.key, "-out", pair.certificate),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", self.own.certificate, "-CAkey", self.own.key),
        )
        return pair


def make_authority(folder: Path, name: str = "hospital") -> Authority:
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / f"{name}-ca.pem", folder / f"{name}-ca.key")
    _openssl(
        *("req", "-x509", *_KEY, "-keyout", pair.key, "-out", pair.certificate),
        *("-subj", f"/CN={name} CA", "-addext", "basicConstraints=critical,CA:TRUE"),
    )
    return Authority(folder, pair)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True)

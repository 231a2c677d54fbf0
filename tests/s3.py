"""An S3 server on loopback: moto, which keeps objects in memory and forgets them when it stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import obstore
from obstore.store import S3Store

from conftest import ROOT
from network.neighbours import free_port, running

SERVER = ROOT / ".cache/s3/bin/moto_server"
BUCKET = "spool"
TOKEN = "any will do"  # noqa: S105


@dataclass(frozen=True)
class S3Server:
    """Where it is; it lets everybody in."""

    url: str

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The table `[spool.share]` of its bucket."""
        share = {"url": f"s3://{BUCKET}/ward", "endpoint_url": self.url, "region": "eu-1"}
        return {**share, "access_key": "reader", "timeout_seconds": 5.0, **changes}

    @property
    def _store(self) -> S3Store:
        return S3Store(
            BUCKET, prefix="ward", endpoint=self.url, region="eu-1",
            access_key_id="tests", secret_access_key=TOKEN, client_options={"allow_http": True},
        )  # fmt: skip

    def keys(self) -> set[str]:
        """Of all objects, as below the spool's folder."""
        return {each["path"] for found in obstore.list(self._store) for each in found}

    def get(self, key: str) -> bytes:
        return obstore.get(self._store, key).bytes().to_bytes()

    def put(self, key: str, content: bytes) -> None:
        obstore.put(self._store, key, content)

    def empty(self) -> None:
        """Remove every object."""
        obstore.delete(self._store, sorted(self.keys()))


@contextmanager
def running_s3(folder: Path, port: int | None = None) -> Iterator[S3Server]:
    """A server with an empty bucket."""
    port = port or free_port()
    with running([SERVER, "-H", "127.0.0.1", "-p", str(port)], folder / "s3.log", port, 60):
        url = f"http://127.0.0.1:{port}"
        httpx.put(f"{url}/{BUCKET}").raise_for_status()
        yield S3Server(url)

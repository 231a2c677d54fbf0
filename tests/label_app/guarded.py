"""The annotation server with users, one without, and an archive that writes down who asks it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from annotated import Annotating, annotating, nifti
from wetread.label.workspace import LabelUser

ROLES = ("user", "annotator", "reviewer", "admin")
IMAGES = ("first", "second", "third")
SHAPE = (12, 14, 10)
MOST_BYTES = 2_000_000
MOST_SESSIONS, MOST_INFERS = 2, 2
PASSWORD = "correct horse"  # noqa: S105 - of an archive that is made here


def token_of(role: str) -> str:
    return f"the token of the {role}"


@dataclass(frozen=True)
class Guarded:
    """A running server with one user a role, each of whom has the role's name."""

    annotating: Annotating
    studies: Path

    @property
    def client(self) -> httpx.Client:
        return self.annotating.client

    @property
    def folder(self) -> Path:
        """All that the server may write to lies in it, beside its studies."""
        return self.studies.parent

    def ask(self, role: str | None, method: str, path: str, **how: Any) -> httpx.Response:
        """As a user of that role, or as nobody."""
        headers = {"Authorization": f"Bearer {token_of(role)}"} if role else {}
        return self.client.request(
            method, path, headers={**headers, **how.pop("headers", {})}, **how
        )

    def files(self) -> set[Path]:
        """All there are, but for those that a running server writes of itself."""
        found = {each for each in self.folder.rglob("*") if each.is_file()}
        own = ("app", "bundles", "sessions", "training", "tmp")
        return {each for each in found if not set(own) & set(each.parts) and each.suffix != ".log"}


def users() -> tuple[LabelUser, ...]:
    return tuple(
        LabelUser(each, (each,), hashlib.sha256(token_of(each).encode()).hexdigest())
        for each in ROLES
    )


def image_bytes(seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).normal(500, 100, SHAPE).astype(np.float32)
    return nifti(values, np.eye(4))


def label_bytes() -> bytes:
    label = np.zeros(SHAPE, np.uint8)
    label[3:6, 4:8, 2:5] = 1
    return nifti(label, np.eye(4))


@contextmanager
def guarded(folder: Path) -> Iterator[Guarded]:
    studies = folder / "studies"
    studies.mkdir()
    for seed, name in enumerate(IMAGES):
        (studies / f"{name}.nii.gz").write_bytes(image_bytes(seed))
    limits = {
        "max_upload_bytes": MOST_BYTES,
        "max_sessions": MOST_SESSIONS,
        "max_infers": MOST_INFERS,
    }
    with annotating(folder, str(studies), users=users(), **limits) as running:
        yield Guarded(running, studies)


@dataclass
class Recorded:
    """One request as the archive saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Upstream:
    """An archive that answers what `answers` says, else an empty list, and keeps what it got."""

    url: str = ""
    requests: list[Recorded] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def take(self) -> list[Recorded]:
        """What came since the last time."""
        found, self.requests = self.requests, []
        return found


@contextmanager
def upstream() -> Iterator[Upstream]:
    archive = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            archive.requests.append(Recorded(self.command, self.path, headers, body))
            empty = (200, {"Content-Type": "application/dicom+json"}, b"[]")
            status, told, content = archive.answers.get(self.path.split("?")[0], empty)
            self.send_response(status)
            for name, value in {**told, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        archive.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
        yield archive
        server.shutdown()
        thread.join()

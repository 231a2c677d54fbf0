"""OHIF at the root and the archive's DICOMweb beside it, on one origin."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from wetread.access.browsers import Browsers
from wetread.audit.alerts import Alerts
from wetread.audit.events import Message
from wetread.config import UserConfig, ViewerConfig
from wetread.viewer.archive import BASE, ArchivePaths
from wetread.viewer.guard import Guard
from wetread.viewer.package import pinned
from wetread.viewer.settings import (
    addresses_of,
    archive_headers,
    check_settings,
    is_of_this_machine,
)
from wetread.viewer.witness import Witness

_CONFIG = Path(__file__).with_name("app-config.js")
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".xml": "text/xml",
}
_HASHED = re.compile(r"[0-9a-f]{16}")
_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# Of OHIF: parts of it compile code, decoders are WebAssembly in workers, styles are set inline.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval' blob: {hashes}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def viewer_site(
    config: ViewerConfig,
    users: Mapping[str, UserConfig],
    files: Path,
    record: Callable[[Message], None],
    browsers: Browsers | None = None,
) -> ASGIApp:
    """The ASGI application; `files` is the folder of OHIF's own files, `record` the audit trail's.
    Those who have logged in at a dashboard are known by `browsers`.

    Raises ConfigError if strangers could use the archive, or a file with a secret is not there.
    """
    check_settings(config, bool(users), browsers.dashboard if browsers else "")
    addresses = addresses_of(config)
    archive = ArchivePaths(
        config.studies,
        archive_headers(config),
        addresses,
        config.max_upload_bytes,
        Witness(record, config.studies),
    )
    pages = _Pages(files)

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        yield
        await archive.close()

    routes = [
        Route(f"{BASE}/{{path:path}}", archive.answer, methods=["GET", "POST"]),
        Route("/app-config.js", pages.settings),
        Route("/{path:path}", pages.file),
    ]
    site = Starlette(routes=routes, lifespan=running)
    needs_user = bool(users) or not is_of_this_machine(config)
    alert = Alerts(record).refused
    return Guard(site, addresses, users, alert, browsers, needs_user=needs_user)


class _Pages:
    """The files that are there now, by their path; nothing else of the disk can be named."""

    def __init__(self, folder: Path) -> None:
        found = (each for each in folder.rglob("*") if each.is_file())
        self._files = {each.relative_to(folder).as_posix(): each for each in found}
        text = _CONFIG.read_text(encoding="utf-8")
        self._settings = text.replace("'VERSION'", json.dumps(pinned().version))
        self._policy = _policy(self._files["index.html"].read_bytes())

    async def settings(self, request: Request) -> Response:
        """OHIF's settings, with who is looking."""
        return Response(
            self._settings.replace("'READER'", json.dumps(request.state.user)),
            media_type="text/javascript",
            headers={"Cache-Control": "no-store"},
        )

    async def file(self, request: Request) -> Response:
        """A file; the page itself for an address of the viewer, which has no extension."""
        path = request.path_params["path"]
        file = self._files.get(path)
        if file is None and not Path(path).suffix:
            file = self._files["index.html"]
        if file is None or file.suffix not in _TYPES:
            return PlainTextResponse("there is no such file", 404)
        kept = "public, max-age=31536000, immutable" if _HASHED.search(file.name) else "no-cache"
        headers = {"Cache-Control": kept, "Content-Security-Policy": self._policy}
        return FileResponse(file, media_type=_TYPES[file.suffix], headers=headers)


def _policy(page: bytes) -> str:
    digests = (hashlib.sha256(each).digest() for each in _INLINE.findall(page))
    hashes = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return _POLICY.format(hashes=hashes)

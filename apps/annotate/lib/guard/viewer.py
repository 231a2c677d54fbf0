"""OHIF, as it lies in MONAI Label's wheel, under /ohif/, on the origin of the archive."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path, PurePosixPath

from fastapi import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from lib.guard.refusals import NoSuchPathError

INDEX = "index.html"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".xml": "application/xml",
}
# Not part of the viewer: other set-ups, and a service worker that loads code from another host.
LEFT_OUT = {"_headers", "_redirects", "google.js", "serve.json", "silent-refresh.html", "sw.js"}
OURS = Path(__file__).with_name("ohif")
_FONTS = re.compile(r'<link[^>]*href="https://fonts\.[^"]*"[^>]*>')
_IMPORTED = re.compile(r"@import url\(https?://[^)]*\);")
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_HASHED = re.compile(r"\.?[0-9a-f]{20}\.(js|wasm)$")


class Viewer:
    """The files under `folder`, found once: a path is one of them or it is not there."""

    def __init__(self, folder: Path) -> None:
        files = {_name(path, folder): path for path in folder.rglob("*") if path.is_file()}
        files.update({_name(path, OURS): path for path in OURS.iterdir()})
        self._files = {name: path for name, path in files.items() if name not in LEFT_OUT}
        self._index = _FONTS.sub("", self._files[INDEX].read_text(encoding="utf-8"))
        styles = {name: path for name, path in self._files.items() if path.suffix == ".css"}
        self._styles = {
            name: _IMPORTED.sub("", path.read_text(encoding="utf-8"))
            for name, path in styles.items()
        }
        self._policy = policy(_INLINE.findall(self._index))

    def file(self, path: str) -> Response:
        """The file, or the viewer's page for a path without an ending.

        Raises NoSuchPathError for a file that is not there.
        """
        name = path or INDEX
        found = self._files.get(name)
        if name == INDEX or (found is None and not PurePosixPath(name).suffix):
            return Response(self._index, media_type="text/html", headers=self._headers("no-cache"))
        if found is None:
            raise NoSuchPathError(f"the viewer has no file {name[:200]}", hint="open /ohif/")
        if name in self._styles:
            headers = self._headers("no-cache")
            return Response(self._styles[name], media_type="text/css", headers=headers)
        cache = "private, max-age=86400" if _HASHED.search(name) else "no-cache"
        return FileResponse(
            found,
            media_type=TYPES.get(found.suffix, "application/octet-stream"),
            headers=self._headers(cache),
        )

    def _headers(self, cache: str) -> dict[str, str]:
        return {"Cache-Control": cache, "Content-Security-Policy": self._policy}


def policy(inline: list[str]) -> str:
    """What the viewer's pages may do: run what comes from here, and talk to here only."""
    hashes = " ".join(f"'sha256-{_digest(each)}'" for each in inline)
    return "; ".join(
        [
            "default-src 'none'",
            # Without eval OHIF cannot open a Segmentation: its ndarray compiles accessors.
            f"script-src 'self' 'unsafe-eval' {hashes}",
            "worker-src 'self' blob:",
            "connect-src 'self' blob: data:",
            "img-src 'self' blob: data:",
            "style-src 'self' 'unsafe-inline'",
            "font-src 'self' data:",
            "manifest-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


def open_viewer(request: Request, path: str = "") -> Response:
    """See Viewer.file."""
    viewer: Viewer = request.app.state.viewer
    return viewer.file(path)


def to_viewer() -> Response:
    """The way from the bare address."""
    return RedirectResponse("/ohif/", 303)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

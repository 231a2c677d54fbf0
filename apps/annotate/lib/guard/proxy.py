"""The archive, on this origin: named DICOMweb paths, with this server's credentials.

OHIF asks `/proxy/dicom/qido/…` for lists and `/proxy/dicom/wado/…` for the rest, and stores what a
reader exports at `/proxy/dicom/wado/studies`. Only what these need goes through: of the request,
its path, its query and the kind of answer that it wants, never who sent it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
from fastapi import Request
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from lib.errors import ArchiveError, NotThereError, RefusedError
from lib.guard.credentials import archive_headers
from lib.guard.refusals import NoSuchPathError
from lib.settings import Settings

CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
MOST_CONNECTIONS = 32

_UID = r"[0-9]+(?:\.[0-9]+)*"
_LOOK = r"(?:/metadata|/rendered|/thumbnail)?"
_FRAMES = r"/frames/[0-9]+(?:,[0-9]+)*(?:/rendered|/thumbnail)?"
_INSTANCE = rf"/instances(?:/{_UID}(?:{_LOOK}|{_FRAMES}|/bulk(?:data)?(?:/[0-9A-Za-z]+)+))?"
_SERIES = rf"/series(?:/{_UID}(?:{_LOOK}|{_INSTANCE}))?"
READ = re.compile(
    rf"studies(?:/{_UID}(?:{_LOOK}|{_INSTANCE}|{_SERIES}))?|series|instances", re.ASCII
)
STORE = re.compile(rf"studies(?:/{_UID})?", re.ASCII)
_LONGEST = 600
_FIELDS = re.compile(rb"(?<![^&])includefield=[^&]*")

_SENT = ("accept", "accept-encoding", "if-none-match", "range")
_STORED = ("accept", "content-type", "content-length")
_ANSWERED = (
    *("content-type", "content-length", "content-encoding", "content-range", "accept-ranges"),
    *("etag", "last-modified", "retry-after"),
)


class ArchiveProxy:
    """`studies` is the URL of the DICOMweb origin; anything else has no archive."""

    def __init__(self, settings: Settings, studies: str) -> None:
        self._origin = studies.rstrip("/") if studies.startswith(("http://", "https://")) else ""
        self._headers = archive_headers(settings) if self._origin else {}
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=MOST_CONNECTIONS),
        )

    async def close(self) -> None:
        """At the end."""
        await self._client.aclose()

    async def read(self, request: Request, path: str) -> Response:
        """QIDO-RS and WADO-RS. Raises NoSuchPathError for any other path."""
        return await self._passed_on("GET", request, self._url(READ, path), _SENT)

    async def store(self, request: Request, path: str) -> Response:
        """STOW-RS. Raises NoSuchPathError for any other path."""
        return await self._passed_on("POST", request, self._url(STORE, path), _STORED)

    async def _sent(self, asked: httpx.Request) -> httpx.Response:
        """Twice what only looks: the archive may have closed an idle connection just now."""
        try:
            return await self._client.send(asked, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if asked.method != "GET":
                raise
            return await self._client.send(asked, stream=True)

    def _url(self, known: re.Pattern[str], path: str) -> str:
        if not self._origin:
            raise NotThereError(
                "the studies of this server are a folder", hint="serve a DICOMweb archive for OHIF"
            )
        if len(path) > _LONGEST or not known.fullmatch(path):
            raise NoSuchPathError(
                f"{path[:200]!r} is no path of DICOMweb that goes through here",
                hint="studies, series, instances, metadata, frames, rendered, bulk data",
            )
        return f"{self._origin}/{path}"

    async def _passed_on(
        self, method: str, request: Request, url: str, names: tuple[str, ...]
    ) -> Response:
        sent = {name: request.headers[name] for name in names if name in request.headers}
        query = _listed(request.scope["query_string"])
        asked = self._client.build_request(
            method,
            httpx.URL(url).copy_with(query=query or None),
            headers={"accept-encoding": "identity", **sent, **self._headers},
            content=request.stream() if method == "POST" else None,
        )
        asked.headers.pop("user-agent", None)
        try:
            answer = await self._sent(asked)
        except httpx.TimeoutException as error:
            raise ArchiveError("the archive does not answer in time", hint="try again") from error
        except httpx.TransportError as error:
            raise ArchiveError("the archive is not to be reached", hint="does it run?") from error
        if answer.status_code in (401, 403) or answer.is_redirect:
            await answer.aclose()
            raise RefusedError(
                f"the archive answers {answer.status_code} to this server",
                hint="see label.studies and the credentials beside it",
            )
        return StreamingResponse(
            _body(answer),
            answer.status_code,
            {name: answer.headers[name] for name in _ANSWERED if name in answer.headers},
            background=BackgroundTask(answer.aclose),
        )


async def read_archive(request: Request, path: str) -> Response:
    """See ArchiveProxy.read."""
    proxy: ArchiveProxy = request.app.state.archive
    return await proxy.read(request, path)


async def store_in_archive(request: Request, path: str) -> Response:
    """See ArchiveProxy.store."""
    proxy: ArchiveProxy = request.app.state.archive
    return await proxy.store(request, path)


def _listed(query: bytes) -> bytes:
    """Orthanc before 1.11 takes a list of fields whose commas are escaped, as OHIF's, for one."""
    return _FIELDS.sub(lambda found: re.sub(rb"(?i)%2c", b",", found[0]), query)


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    """As it comes, compressed or not."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()

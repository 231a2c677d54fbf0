"""The archive's DICOMweb (PS3.18), passed on: named paths only, by this server's own login."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from urllib.parse import parse_qsl, urlencode

import anyio
import httpx
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from wetread.errors import LedgerError
from wetread.httpd import refused
from wetread.viewer.frames import BitFrames, first_part
from wetread.viewer.witness import Witness

log = structlog.get_logger()

BASE = "/dicom-web"
_UID = r"\d+(?:\.\d+)*"
_SERIES = rf"studies/{_UID}/series/{_UID}"
_INSTANCE = rf"{_SERIES}/instances/{_UID}"
_ANY = rf"(?:studies/{_UID}|{_SERIES}|{_INSTANCE})"
_READ = re.compile(
    rf"studies|series|instances|studies/{_UID}/(?:series|instances)|{_SERIES}/instances"
    rf"|{_ANY}(?:/(?:metadata|rendered|thumbnail))?"
    rf"|{_INSTANCE}/frames/\d+(?:,\d+)*(?:/(?:rendered|thumbnail))?"
    rf"|{_INSTANCE}/bulk(?:data)?(?:/[0-9A-Za-z]+)+"
)
_FRAME = re.compile(rf"({_INSTANCE})/frames/(\d+)")
_STORE = re.compile(rf"studies(?:/{_UID})?")
_WHOLE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_JSON = ("application/dicom+json", "application/json")
_PASSED_ON = ("content-length", "content-encoding", "content-range", "retry-after", "warning")
# An answer of the archive is data, whatever it says of itself.
_NO_PAGE = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "no-store"}


class _TooLargeError(Exception):
    """A request that goes on after the limit."""


class _PassedOn(StreamingResponse):
    """An answer of the archive, which is let go of also where the browser has gone away."""

    def __init__(
        self, found: httpx.Response, chunks: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(chunks, found.status_code, headers=headers)
        self._found, self._chunks = found, chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.let_go()

    async def whole(self) -> bytes:
        """All of it, which is still passed on."""
        content = b"".join([bytes(chunk) async for chunk in self._chunks])
        self.body_iterator = _once(content)
        return content

    async def let_go(self) -> None:
        """Let the connection serve others, whatever has been read."""
        with anyio.CancelScope(shield=True):
            await self._found.aclose()


class ArchivePaths:
    """Answers requests under BASE with what the archive at `url` says.

    `headers` are our login there; nothing of the caller's goes to it but what is asked for. What
    it says of its own addresses is said of ours, `addresses` by Host. `witness` hears of all that
    is shown and stored.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        addresses: Mapping[str, str],
        max_upload_bytes: int,
        witness: Witness,
    ) -> None:
        self._witness = witness
        self._url = url.rstrip("/")
        self._addresses = dict(addresses)
        self._max_upload_bytes = max_upload_bytes
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(60.0, connect=10.0),
            headers={**headers, "Accept-Encoding": "identity"},
            trust_env=False,
        )
        self._frames = BitFrames(self._fetch)

    async def close(self) -> None:
        """End its connections."""
        await self._client.aclose()

    async def answer(self, request: Request) -> Response:
        """What the archive answers; 404 for a path that no viewer needs, 502 if it is down."""
        path = request.path_params["path"]
        store = request.method == "POST"
        if not (_STORE if store else _READ).fullmatch(path):
            return refused(404, f"{BASE}/{path} is not served", "see PS3.18 for what there is")
        if store and (problem := self._upload_problem(request)):
            return problem
        try:
            return await (self._store(request, path) if store else self._show(request, path))
        except _TooLargeError:
            return self._too_large()
        except ClientDisconnect:
            return refused(400, "the request ended early", "send it again")
        except httpx.HTTPError as error:
            log.warning("the archive does not answer", reason=str(error) or type(error).__name__)
            return refused(502, "the archive does not answer", "is it up? see viewer.studies")

    async def _store(self, request: Request, path: str) -> Response:
        try:
            found = await self._ask(request, path)
            answer = await found.whole()
        except httpx.HTTPError as error:
            await self._witness.stored_perhaps(path, f"no answer: {type(error).__name__}")
            raise
        if found.status_code < 300:
            await self._witness.stored(path, answer)
        elif found.status_code >= 500:
            await self._witness.stored_perhaps(path, f"status {found.status_code}")
        return found

    async def _show(self, request: Request, path: str) -> Response:
        frame = _FRAME.fullmatch(path)
        shown = await (
            self._frame(request, path, frame[1], int(frame[2]))
            if frame
            else self._ask(request, path)
        )
        if shown.status_code >= 400:
            return shown
        try:
            await self._witness.saw(path, list(request.query_params))
        except LedgerError as error:
            if isinstance(shown, _PassedOn):
                await shown.let_go()
            fact = "the audit trail cannot be written, so nothing is shown"
            log.error(fact, reason=error.message, hint=error.hint)
            return refused(503, fact, error.hint)
        return shown

    async def _frame(self, request: Request, path: str, instance: str, number: int) -> Response:
        """From the archive, or cut here where it cannot give it."""
        if not self._frames.holds(instance):
            found = await self._ask(request, path)
            if found.status_code < 400:
                return found
            await found.let_go()
        cut = await self._frames.answer(instance, number)
        return cut or refused(404, f"the archive has no frame {number} of {path}", "is it whole?")

    async def _fetch(self, instance: str) -> bytes | None:
        url = f"{self._url}/{instance}"
        found = await self._client.get(url, headers={"Accept": _WHOLE})
        kind = found.headers.get("content-type", "")
        return first_part(found.content, kind) if found.is_success else None

    async def _ask(self, request: Request, path: str) -> _PassedOn:
        url = f"{self._url}/{path}{query_of(request)}"
        names = ["accept"]
        body = None
        if request.method == "POST":
            names += ["content-type", "content-length"]
            body = self._limited(request)
        headers = {name: request.headers[name] for name in names if name in request.headers}
        asked = self._client.build_request(request.method, url, headers=headers, content=body)
        found = await self._sent(asked)
        passed = {name: found.headers[name] for name in _PASSED_ON if name in found.headers}
        kind = found.headers.get("content-type", "application/octet-stream")
        chunks = found.aiter_raw()
        if kind.partition(";")[0].strip() in _JSON:
            passed.pop("content-length", None)
            own = f"{self._addresses[request.headers['host']]}{BASE}/"
            chunks = replaced(chunks, f"{self._url}/".encode(), own.encode())
        return _PassedOn(found, chunks, {**passed, **_NO_PAGE, "content-type": kind})

    async def _sent(self, asked: httpx.Request) -> httpx.Response:
        """Twice what only looks: the archive may have closed an idle connection just now."""
        try:
            return await self._client.send(asked, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if asked.method != "GET":
                raise
            return await self._client.send(asked, stream=True)

    def _upload_problem(self, request: Request) -> Response | None:
        if not request.headers.get("content-type", "").startswith("multipart/related"):
            return refused(415, "a request to store is multipart/related", "see PS3.18 10.5")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_upload_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> Response:
        limit = self._max_upload_bytes
        return refused(413, f"more than {limit} bytes", "store less, or raise max_upload_bytes")

    async def _limited(self, request: Request) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > self._max_upload_bytes:
                raise _TooLargeError
            yield chunk


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def query_of(request: Request) -> str:
    """The query with one `includefield` an attribute: older Orthancs know no list of them."""
    pairs = [
        (name, part)
        for name, value in parse_qsl(request.url.query, keep_blank_values=True)
        for part in (value.split(",") if name == "includefield" else [value])
    ]
    return f"?{urlencode(pairs)}" if pairs else ""


async def replaced(chunks: AsyncIterator[bytes], old: bytes, new: bytes) -> AsyncIterator[bytes]:
    """The same bytes with `new` for `old`, also where it lies across two chunks."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(old)
        kept = min(len(rest), len(old) - 1)
        whole.append(rest[: len(rest) - kept])
        rest = rest[len(rest) - kept :]
        yield new.join(whole)
    yield rest

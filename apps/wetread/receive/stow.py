"""The door for DICOMweb: STOW-RS (PS3.18 10.5), on the same path as the listener."""

from __future__ import annotations

import hmac
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from wetread.config import StowConfig
from wetread.errors import (
    InputError,
    StorageError,
    WetreadError,
    codes_for,
)
from wetread.files import secret_in
from wetread.receive.accept import Arrival, Intake, Record, arrival_of_file, count_refusal
from wetread.receive.callers import Refused, nobody_told
from wetread.receive.multipart import (
    Event,
    MultipartReader,
    PartData,
    PartStart,
    content_type_of,
)
from wetread.receive.part10 import Part10Reader
from wetread.receive.spool import Spool
from wetread.study import ReceivedInstance

log = structlog.get_logger()

STOW_CALLER = "STOW-RS"
"""What stands for the calling AE title of an instance that came through this door."""

_DICOM = "application/dicom"
_DICOM_JSON = "application/dicom+json"


class _HttpError(Exception):
    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(slots=True)
class _Outcome:
    """The Store Instances Response Module in the making (PS3.18 Table I.2-1)."""

    stored: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, instance: ReceivedInstance) -> None:
        self.stored.append(_reference(instance.sop_class_uid, instance.sop_instance_uid))

    def fail(self, arrival: Arrival, error: WetreadError) -> None:
        item = _reference(arrival.sop_class_uid, arrival.sop_instance_uid)
        item["00081197"] = {"vr": "US", "Value": [codes_for(error).store_status]}
        self.failed.append(item)

    @property
    def status(self) -> int:
        if not self.failed:
            return 200
        return 202 if self.stored else 409

    def module(self) -> dict[str, Any]:
        sequences = {"00081198": self.failed, "00081199": self.stored}
        return {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def _reference(sop_class_uid: str, sop_instance_uid: str) -> dict[str, Any]:
    uids = {"00081150": sop_class_uid, "00081155": sop_instance_uid}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items() if uid}


class _Store:
    """One request: takes the events of its parts, stores each as it ends."""

    def __init__(self, intake: Intake, study_instance_uid: str) -> None:
        self.outcome = _Outcome()
        self._intake = intake
        self._study = study_instance_uid
        self._part: Part10Reader | None = None
        self._failure: WetreadError | None = None

    def take(self, event: Event) -> None:
        """Raises _HttpError for a part of another type, StorageError if the spool is full."""
        if isinstance(event, PartStart):
            self._begin(event)
        elif isinstance(event, PartData):
            self._write(event.data)
        else:
            self._finish()

    def _begin(self, event: PartStart) -> None:
        if event.content_type not in ("", _DICOM):
            raise _HttpError(415, f"a part of type {event.content_type}, only {_DICOM} is taken")
        self._part = Part10Reader(self._intake.spool.new_body())
        self._failure = None

    def _write(self, data: bytes) -> None:
        if self._part is not None and self._failure is None:
            try:
                self._part.write(data)
            except InputError as error:
                self._failure = error

    def _finish(self) -> None:
        if self._part is None:
            return
        arrival = Arrival(STOW_CALLER, "", "", "", "", self._study, STOW_CALLER)
        try:
            arrival = self._arrival(self._part)
            self.outcome.add(self._intake.accept(self._part.body, arrival))
        except InputError as error:
            count_refusal(error, arrival)
            self.outcome.fail(arrival, error)
        except StorageError as error:
            count_refusal(error, arrival)
            raise
        finally:
            self.close()

    def _arrival(self, part: Part10Reader) -> Arrival:
        if self._failure is not None:
            raise self._failure
        return arrival_of_file(part.meta, STOW_CALLER, self._study)

    def close(self) -> None:
        if self._part is not None:
            self._part.body.close()
            self._part = None


class StowDoor:
    """`app` is the ASGI application: POST {base}/studies and {base}/studies/{study}.

    `record` is called for every instance once it is durable and before the answer;
    `on_request_end` with STOW_CALLER after each request; `refused` where one is not let in.

    Raises ConfigError if the token file cannot be read or is empty.
    """

    def __init__(
        self,
        config: StowConfig,
        spool: Spool,
        record: Record,
        on_request_end: Callable[[str], None] | None = None,
        base: str = "/dicom-web",
        *,
        refused: Refused = nobody_told,
    ) -> None:
        self._config = config
        self._token = secret_in(config.token_file, "stow.token_file").encode()
        self._intake = Intake(spool, record)
        self._on_request_end = on_request_end
        self._refused = refused
        self._lock = threading.Lock()
        self._open = 0
        self.app = FastAPI(title="wetread STOW-RS", docs_url=None, redoc_url=None, openapi_url=None)
        self.app.post(f"{base}/studies")(self._post)
        self.app.post(f"{base}/studies/{{study}}")(self._post_study)

    def open_callers(self) -> frozenset[str]:
        """STOW_CALLER while a request is being received."""
        return frozenset({STOW_CALLER} if self._open else ())

    async def _post(self, request: Request) -> JSONResponse:
        return await self._answer(request, "")

    async def _post_study(self, request: Request, study: str) -> JSONResponse:
        return await self._answer(request, study)

    async def _answer(self, request: Request, study: str) -> JSONResponse:
        try:
            self._authorise(request)
            outcome = await self._receive(request, study)
        except _HttpError as error:
            return _problem(error.status, str(error), error.headers)
        except StorageError as error:
            return _problem(503, error.message, {"Retry-After": "60"})
        except InputError as error:
            return _problem(400, error.message)
        except ClientDisconnect:
            return _problem(400, "the request ended early")
        return JSONResponse(outcome.module(), outcome.status, media_type=_DICOM_JSON)

    def _authorise(self, request: Request) -> None:
        if not self._token:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        matches = hmac.compare_digest(given.strip().encode(), self._token)
        if scheme.lower() != "bearer" or not matches:
            address = request.client.host if request.client else ""
            self._refused("STOW-RS", address, "no bearer token, or a wrong one")
            challenge = {"WWW-Authenticate": 'Bearer realm="wetread"'}
            raise _HttpError(401, "a bearer token is needed", challenge)

    async def _receive(self, request: Request, study: str) -> _Outcome:
        reader = MultipartReader(_boundary(request))
        store = _Store(self._intake, study)
        with self._lock:
            self._open += 1
        try:
            async for chunk in self._limited(request):
                for event in reader.feed(chunk):
                    await _take(store, event)
        finally:
            store.close()
            with self._lock:
                self._open -= 1
            if self._on_request_end is not None:
                self._on_request_end(STOW_CALLER)
        if not reader.is_complete:
            raise InputError(
                "the request has no closing boundary", hint="it was cut short; send it again"
            )
        if not (store.outcome.stored or store.outcome.failed):
            raise InputError(
                "the request has no part", hint="send one DICOM file a part (PS3.18 10.5)"
            )
        return store.outcome

    async def _limited(self, request: Request) -> AsyncIterator[bytes]:
        limit = self._config.max_body_bytes
        announced = request.headers.get("content-length", "0")
        received = 0
        if announced.isdecimal() and int(announced) > limit:
            raise _HttpError(413, f"{announced} bytes, at most {limit} are taken")
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise _HttpError(413, f"more than {limit} bytes")
            yield chunk


async def _take(store: _Store, event: Event) -> None:
    # Only the end of a part waits for the disk; a hop to a thread for every chunk costs more.
    if isinstance(event, PartStart | PartData):
        store.take(event)
    else:
        await run_in_threadpool(store.take, event)


def _boundary(request: Request) -> str:
    media_type, parameters = content_type_of(request.headers.get("content-type", ""))
    if media_type != "multipart/related":
        raise _HttpError(415, f'{media_type or "no type"}, need multipart/related; type="{_DICOM}"')
    kind = parameters.get("type", _DICOM).lower()
    if kind != _DICOM:
        raise _HttpError(415, f"parts of type {kind}, only {_DICOM} is taken")
    if not parameters.get("boundary"):
        raise _HttpError(400, "the Content-Type names no boundary")
    return parameters["boundary"]


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    log.warning("STOW-RS request refused", status=status, reason=message)
    return JSONResponse({"error": message}, status, headers=headers)

"""Delivery by STOW-RS (PS3.18 10.5)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from wetread.config import DicomwebDestination
from wetread.deliver.base import DeliveryReceipt, StoredObject, read_object
from wetread.deliver.web import COME_AGAIN, WebServer
from wetread.dicom.network import is_stored, judge_store_status, status_meaning
from wetread.errors import DeliveryError, DestinationUnavailableError

_DICOM_JSON = "application/dicom+json"
_CHUNK_BYTES = 1 << 20
_FAILED_SEQUENCE, _STORED_SEQUENCE = "00081198", "00081199"
_FAILURE_REASON, _WARNING_REASON = "00081197", "00081196"
_HINTS = {
    401: "check user and password_file, or token_file, of this destination",
    403: "let the destination allow this user to store",
    404: "url must be the service root, such as http://host:8042/dicom-web",
    413: "the destination's limit for a request is too low for this object",
    415: "the destination does not take application/dicom parts",
}


class StowDestination:
    """A STOW-RS origin server.

    Raises ConfigError if the password, token or CA file cannot be read.
    """

    def __init__(self, name: str, config: DicomwebDestination) -> None:
        self.name = name
        self._server = WebServer(name, config, _DICOM_JSON)

    def send(self, object_path: Path) -> DeliveryReceipt:
        """Store the file as it is.

        The answer is read even if the HTTP status is a success: an object in its Failed SOP
        Sequence is not stored, and raises StoreRefusedError with the reason given there.

        Raises DestinationUnavailableError on a refused connection, a time-out or a status of the
        5xx, and DeliveryError on any other status.
        """
        started = time.perf_counter()
        found = read_object(object_path)
        boundary = uuid4().hex
        head, tail = _envelope(boundary)
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(head) + found.size_bytes + len(tail)),
        }
        response = self._server.request("POST", "studies", headers, _multipart(found, head, tail))
        meaning = self._judge(response, found)
        return DeliveryReceipt(
            destination=self.name,
            sop_instance_uid=found.sop_instance_uid,
            status=f"HTTP {response.status_code}",
            meaning=meaning,
            seconds=time.perf_counter() - started,
        )

    def test(self) -> str:
        """A search for one study (QIDO-RS). Raises as `send`."""
        response = self._server.request("GET", "studies?limit=1")
        self._check_status(response)
        return f"{self._server.place} answers a search with HTTP {response.status_code}"

    def _judge(self, response: httpx.Response, found: StoredObject) -> str:
        module = _module(response)
        # We sent one object, so any failure is about it, under whatever UID it is listed.
        failures = [item for item in _values(module, _FAILED_SEQUENCE) if isinstance(item, dict)]
        if failures:
            reason = _number(failures[0], _FAILURE_REASON)
            judge_store_status(
                # Listed as failed under the code of a success: a processing failure.
                reason if reason and not is_stored(reason) else 0x0110,
                sop_instance_uid=found.sop_instance_uid,
                destination=f"{self._server.place}",
                comment=f"HTTP {response.status_code}",
            )
        self._check_status(response)
        stored = _item_of(module, _STORED_SEQUENCE, found)
        if stored is None and response.status_code == 202:
            raise DeliveryError(
                f"{self._server.place} answered HTTP 202 for {found.sop_instance_uid} "
                "and does not say that it is stored",
                hint="look at the destination's log",
                stage="deliver",
            )
        warning = _number(stored or {}, _WARNING_REASON)
        return "stored" if warning is None else status_meaning(warning)

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        message = f"{self._server.place} answered HTTP {status} {response.reason_phrase}"
        if status >= 500 or status in COME_AGAIN:
            raise DestinationUnavailableError(
                message, hint="look at the destination's log; wetread sends again", stage="deliver"
            )
        hint = _HINTS.get(status, "look at the destination's log for the reason")
        raise DeliveryError(message, hint=hint, stage="deliver")


def _envelope(boundary: str) -> tuple[bytes, bytes]:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _multipart(found: StoredObject, head: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    with found.path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    yield tail


def _module(response: httpx.Response) -> dict[str, Any]:
    """The Store Instances Response Module; empty if the answer holds none."""
    try:
        content = json.loads(response.content or b"{}")
    except ValueError:
        return {}
    if isinstance(content, list) and content:
        content = content[0]
    return content if isinstance(content, dict) else {}


def _item_of(module: dict[str, Any], sequence: str, found: StoredObject) -> dict[str, Any] | None:
    """The item about our object. One without a UID is about it too: we sent nothing else."""
    for item in _values(module, sequence):
        uids = _values(item, "00081155") if isinstance(item, dict) else []
        if not uids or found.sop_instance_uid in uids:
            return dict(item)
    return None


def _values(item: dict[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _number(item: dict[str, Any], tag: str) -> int | None:
    values = _values(item, tag)
    return values[0] if values and isinstance(values[0], int) else None

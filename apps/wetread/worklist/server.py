"""A UPS-RS origin server as its performer sees it (PS3.18 chapter 11)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
from pydicom import Dataset

from wetread.errors import DeliveryError, DestinationUnavailableError, InputError

_JSON = "application/dicom+json"
_NOT_OURS = (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND, httpx.codes.CONFLICT, httpx.codes.GONE)
_PAGE = 100


class Worklist:
    """The service root of the origin, such as http://host:8080/dicom-web.

    Each method raises DestinationUnavailableError where it makes sense to ask again, and
    DeliveryError for another refusal.
    """

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url.rstrip("/")
        self._client = client

    def scheduled(self, code: str) -> list[Dataset]:
        """Items that wait for a performer, with that Scheduled Workitem Code (PS3.18 11.9)."""
        value, scheme = code.split("^")
        query = {
            "ProcedureStepState": "SCHEDULED",
            "ScheduledWorkitemCodeSequence.CodeValue": value,
            "ScheduledWorkitemCodeSequence.CodingSchemeDesignator": scheme,
            "includefield": "all",
            "limit": str(_PAGE),
        }
        answer = self._ask("GET", "workitems", params=query)
        self._check(answer)
        # An origin may ignore a key: what is not asked for is not claimed.
        return [
            each
            for each in _datasets(answer)
            if each.get("ProcedureStepState") == "SCHEDULED" and code in _codes_of(each)
        ]

    def get(self, uid: str) -> Dataset | None:
        """One item; None if it is there no more (PS3.18 11.5)."""
        answer = self._ask("GET", f"workitems/{uid}")
        if answer.status_code in _NOT_OURS:
            return None
        self._check(answer)
        found = _datasets(answer)
        if not found:
            raise InputError(f"{self.url}: work item {uid} is empty", hint="look at its log")
        return found[0]

    def change_state(self, uid: str, transaction_uid: str, state: str) -> bool:
        """Whether it has that state now and is under our transaction (PS3.18 11.7)."""
        body = Dataset()
        body.ProcedureStepState = state
        body.TransactionUID = transaction_uid
        answer = self._ask("PUT", f"workitems/{uid}/state", body=body)
        return self._is_ours(answer)

    def update(self, uid: str, transaction_uid: str, changes: Dataset) -> bool:
        """Whether an item in progress was changed: it is under our transaction (PS3.18 11.6)."""
        answer = self._ask(
            "POST", f"workitems/{uid}", params={"transaction-uid": transaction_uid}, body=changes
        )
        return self._is_ours(answer)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Dataset | None = None,
    ) -> httpx.Response:
        content = None if body is None else json.dumps([body.to_json_dict()])
        headers = {"Accept": _JSON, **({"Content-Type": _JSON} if content else {})}
        try:
            return self._client.request(
                method, f"{self.url}/{path}", params=params, content=content, headers=headers
            )
        except httpx.HTTPError as error:
            raise DestinationUnavailableError(
                f"worklist {self.url} cannot be reached: {error or type(error).__name__}",
                hint="check that it runs, and [worklist] url",
                stage="worklist",
            ) from error

    def _is_ours(self, answer: httpx.Response) -> bool:
        if answer.status_code in _NOT_OURS:
            return False
        self._check(answer)
        return True

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        warning = answer.headers.get("Warning", "")
        message = f"worklist {self.url} answered HTTP {answer.status_code} {warning}".rstrip()
        if answer.is_server_error:
            raise DestinationUnavailableError(
                message, hint="look at its log; it is asked again", stage="worklist"
            )
        raise DeliveryError(
            message, hint="check [worklist] url, user, password_file and token_file"
        )


def _codes_of(item: Dataset) -> set[str]:
    return {
        f"{each.get('CodeValue')}^{each.get('CodingSchemeDesignator')}"
        for each in item.get("ScheduledWorkitemCodeSequence") or ()
    }


def _datasets(answer: httpx.Response) -> list[Dataset]:
    if answer.status_code == httpx.codes.NO_CONTENT:
        return []
    try:
        found: Any = answer.json()
    except json.JSONDecodeError as error:
        raise InputError(
            f"{answer.url} gives no JSON: {error}", hint="is [worklist] url its service root?"
        ) from error
    return [Dataset.from_json(each) for each in (found if isinstance(found, list) else [found])]

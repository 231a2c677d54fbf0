"""Delivery of a report to a FHIR R4 server, as one transaction."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx

from wetread.config import FhirDestination
from wetread.deliver.base import DeliveryReceipt
from wetread.deliver.resources import transaction_of
from wetread.deliver.statements import read_report
from wetread.deliver.web import COME_AGAIN, WebServer
from wetread.errors import DeliveryError, DestinationUnavailableError

_FHIR_JSON = "application/fhir+json"
# FHIR R4 value set issue-type: an OperationOutcome has free text too, which may quote the patient.
_ISSUES = re.compile(
    "invalid|structure|required|value|invariant|security|login|unknown|expired|forbidden|suppressed|"
    "processing|not-supported|duplicate|multiple-matches|not-found|deleted|too-long|code-invalid|"
    "extension|too-costly|business-rule|conflict|transient|lock-error|no-store|exception|timeout|"
    "incomplete|throttled"
)
_PLACE = re.compile(
    r"(Bundle|DiagnosticReport|Observation|ImagingStudy|Device)"
    r"(\.(entry|resource|request|identifier|subject|code|status|series|value\w*)(\[\d+\])?)*"
)
_HINTS = {
    401: "check user and password_file, or token_file, of this destination",
    403: "let the server allow this user to make and to change these resources",
    404: "url must be the service base, such as https://fhir.hospital.example/r4",
    412: "several resources, or patients, there have one identifier: find them on the server",
}


class FhirServer:
    """A FHIR R4 server that takes transactions.

    Raises ConfigError if the password, token or CA file cannot be read.
    """

    def __init__(self, name: str, config: FhirDestination) -> None:
        self.name = name
        self._config = config
        self._server = WebServer(name, config, _FHIR_JSON)

    def send(self, object_path: Path) -> DeliveryReceipt:
        """Send the report as one transaction: all of it is there then, or nothing.

        Raises DestinationUnavailableError for no answer and for HTTP 5xx, 408, 409 and 429, which
        are tried again, and DeliveryError for every other refusal.
        """
        started = time.perf_counter()
        report = read_report(object_path)
        bundle = transaction_of(report, self._config)
        headers = {"Content-Type": _FHIR_JSON, "Prefer": "return=minimal"}
        response = self._server.request("POST", "", headers, json.dumps(bundle).encode())
        self._check_status(response)
        self._check_entries(response, len(bundle["entry"]))
        return DeliveryReceipt(
            destination=self.name,
            sop_instance_uid=report.sop_instance_uid,
            status=f"HTTP {response.status_code}",
            meaning=f"{len(bundle['entry'])} resources",
            seconds=time.perf_counter() - started,
        )

    def test(self) -> str:
        """Read its CapabilityStatement. Raises as `send`, and DeliveryError if it is not R4."""
        response = self._server.request("GET", "metadata")
        self._check_status(response)
        version = str(_content(response).get("fhirVersion", ""))
        if not version.startswith("4."):
            raise DeliveryError(
                f"{self._server.place} speaks FHIR {version or 'of no version'}, not R4",
                hint="take the server's base for R4 (4.0.1)",
                stage="deliver",
            )
        return f"{self._server.place} speaks FHIR {version}"

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        message = f"{self._server.place} answered HTTP {status}{_issues(_content(response))}"
        if status >= 500 or status in COME_AGAIN | {409}:
            raise DestinationUnavailableError(
                message, hint="look at the server's log; wetread sends again", stage="deliver"
            )
        hint = _HINTS.get(status, "look at the server's log for the reason")
        raise DeliveryError(message, hint=hint, stage="deliver")

    def _check_entries(self, response: httpx.Response, sent: int) -> None:
        entries = _content(response).get("entry")
        entries = entries if isinstance(entries, list) else []
        done = [str(each.get("response", {}).get("status", "")) for each in entries]
        if len(done) != sent or not all(each.startswith("2") for each in done):
            raise DeliveryError(
                f"{self._server.place} answered HTTP {response.status_code} and took "
                f"{sum(each.startswith('2') for each in done)} of {sent} resources",
                hint="url must be a server that takes transactions; look at its log",
                stage="deliver",
            )


def _content(response: httpx.Response) -> dict[str, Any]:
    try:
        content = json.loads(response.content or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _issues(outcome: dict[str, Any]) -> str:
    """What an OperationOutcome says in codes and places, in brackets."""
    issues = outcome.get("issue") if outcome.get("resourceType") == "OperationOutcome" else None
    said = [_issue(each) for each in issues or () if _ISSUES.fullmatch(str(each.get("code")))]
    return f" ({'; '.join(said)})" if said else ""


def _issue(issue: dict[str, Any]) -> str:
    places = issue.get("expression") or issue.get("location") or []
    known = [each for each in places if isinstance(each, str) and _PLACE.fullmatch(each)]
    return " at ".join([issue["code"], *known[:1]])

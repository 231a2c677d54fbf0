"""A FHIR R4 server that keeps what it takes, as strict as the models of fhir.resources.

It stands for real servers, of which none was found to install here. A transaction is taken whole
or not at all (FHIR 4.0.1, 3.1.0.11.2): every resource is validated, conditional creates and
updates are judged by their identifier, and every reference must lead somewhere. Its words quote the
patient, as those of servers do.
"""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import parse_qs, unquote

from fastapi import FastAPI, Request, Response
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError

Resource = dict[str, Any]


class RefusedError(Exception):
    """With an HTTP status and an issue type."""

    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(words)
        self.status, self.code, self.words = status, code, words


class FhirStore:
    """`kept` holds resources by TYPE/ID; `versions` counts their changes."""

    def __init__(self) -> None:
        self.kept: dict[str, Resource] = {}
        self.versions: dict[str, int] = {}
        self._made = 100
        self.version, self.fails_with, self.token = "4.0.1", 0, ""
        self.app = FastAPI()
        self.app.get("/r4/metadata")(self._metadata)
        self.app.post("/r4")(self._post)

    def of(self, kind: str) -> list[Resource]:
        """Every resource of a type."""
        return [each for key, each in self.kept.items() if key.startswith(f"{kind}/")]

    async def _metadata(self) -> Resource:
        return {"resourceType": "CapabilityStatement", "fhirVersion": self.version}

    async def _post(self, request: Request) -> Response:
        try:
            self._check(request)
            answer, status = self._transact(json.loads(await request.body())), 200
        except RefusedError as refusal:
            issue = {"severity": "error", "code": refusal.code, "diagnostics": refusal.words}
            issue["expression"] = ["Bundle.entry[0]", "PAT|7"]
            answer, status = {"resourceType": "OperationOutcome", "issue": [issue]}, refusal.status
        return Response(json.dumps(answer), status, media_type="application/fhir+json")

    def _check(self, request: Request) -> None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "login", "who are you?")
        if self.fails_with:
            raise RefusedError(self.fails_with, "processing", "Sørensen, PAT|7: out of order")
        if request.headers["Content-Type"] != "application/fhir+json":
            raise RefusedError(415, "not-supported", "no FHIR")

    def _transact(self, bundle: Resource) -> Resource:
        _validate(Bundle, bundle)
        before = copy.deepcopy((self.kept, self.versions))
        try:
            return self._taken(bundle["entry"])
        except RefusedError:
            self.kept, self.versions = before
            raise

    def _taken(self, entries: list[Resource]) -> Resource:
        names: dict[str, str] = {}
        done = []
        for entry in entries:
            _validate(get_fhir_model_class(entry["resource"]["resourceType"]), entry["resource"])
            place, status = self._place(entry)
            names[entry["fullUrl"]] = place
            done.append((entry, place, status))
        for entry, place, status in done:
            if status != "200 OK" or entry["request"]["method"] == "PUT":
                self._keep(place, self._resolved(entry["resource"], names))
        responses = [{"response": {"status": status}} for _, _, status in done]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": responses}

    def _place(self, entry: Resource) -> tuple[str, str]:
        request, kind = entry["request"], entry["resource"]["resourceType"]
        query = request["url"].partition("?")[2] or request.get("ifNoneExist", "")
        found = self._found(kind, query)
        if len(found) > 1:
            raise RefusedError(412, "multiple-matches", f"PAT|7: {query}")
        if found:
            return found[0], "200 OK"
        self._made += 1
        return f"{kind}/{self._made}", "201 Created"

    def _found(self, kind: str, query: str) -> list[str]:
        (wanted,) = parse_qs(query)["identifier"]
        system, _, value = wanted.partition("|")
        value = value.replace("\\|", "|")
        return [
            key
            for key, each in self.kept.items()
            if key.startswith(f"{kind}/")
            and any(
                (one.get("system"), one["value"]) == (system, value) for one in each["identifier"]
            )
        ]

    def _keep(self, place: str, resource: Resource) -> None:
        self.kept[place] = resource
        self.versions[place] = self.versions.get(place, 0) + 1

    def _resolved(self, content: Any, names: dict[str, str]) -> Any:
        if isinstance(content, list):
            return [self._resolved(each, names) for each in content]
        if not isinstance(content, dict):
            return content
        if "reference" in content:
            return {**content, "reference": self._target(content["reference"], names)}
        return {key: self._resolved(each, names) for key, each in content.items()}

    def _target(self, reference: str, names: dict[str, str]) -> str:
        if not reference.startswith("Patient?"):
            if reference not in names:
                raise RefusedError(400, "not-found", reference)
            return names[reference]
        found = self._found("Patient", reference.partition("?")[2])
        if len(found) != 1:
            raise RefusedError(
                412, "not-found" if not found else "multiple-matches", unquote(reference)
            )
        return found[0]


def _validate(model: Any, resource: Resource) -> None:
    try:
        model.model_validate(resource)
    except ValidationError as error:
        raise RefusedError(422, "invalid", str(error)) from error

"""A UPS-RS origin server: the states of PS3.4 CC.1.1 and the answers of PS3.18 chapter 11.

Items live in memory. It knows search, retrieval, update, change of state and cancellation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydicom import Dataset
from pydicom.uid import generate_uid

STATE, TRANSACTION, UID = "00741000", "00081195", "00080018"
CODES = "00404018"
_FINAL = ("COMPLETED", "CANCELED")
# PS3.4 Table CC.2.5-3: what must be there before an item may end.
_PERFORMED, _OUTPUT, _STEP = "00741216", "00404033", "00741002"
_REASON = "0074100E"


@dataclass
class Origin:
    """The items by their UID; `transactions` are secret to whoever holds the item."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    transactions: dict[str, str] = field(default_factory=dict)
    progress: dict[str, list[str]] = field(default_factory=dict)

    def schedule(
        self,
        code: str,
        study: str,
        series: str,
        instances: list[tuple[str, str]],
        patient_id: str = "",
    ) -> str:
        """A new item with that code, "VALUE^SCHEME", on those instances (class and UID)."""
        value, scheme = code.split("^")
        item = Dataset()
        item.SOPInstanceUID = generate_uid()
        item.ProcedureStepState = "SCHEDULED"
        item.InputReadinessState = "READY"
        item.PatientID = patient_id
        item.ScheduledWorkitemCodeSequence = [_code(value, scheme)]
        source = Dataset()
        source.TypeOfInstances = "DICOM"
        source.StudyInstanceUID, source.SeriesInstanceUID = study, series
        source.ReferencedSOPSequence = [_reference(*each) for each in instances]
        item.InputInformationSequence = [source]
        uid = str(item.SOPInstanceUID)
        self.items[uid] = item.to_json_dict()
        return uid

    def state(self, uid: str) -> str:
        return str(_value(self.items[uid], STATE))

    def item(self, uid: str) -> Dataset:
        return Dataset.from_json(self.items[uid])

    def change(self, uid: str, wanted: str, transaction: str) -> Response:
        state, holder = self.state(uid), self.transactions.get(uid)
        if state == wanted and state in _FINAL:
            return _answer(410 if state == "COMPLETED" else 409, "The UPS is already in that state")
        if state in _FINAL:
            return _answer(409, "The UPS may no longer be updated")
        if wanted == "IN PROGRESS":
            if state != "SCHEDULED":
                return _answer(409, "The UPS is already IN PROGRESS")
            self.transactions[uid] = transaction
        elif state != "IN PROGRESS":
            return _answer(409, "The UPS is not yet in the IN PROGRESS state")
        elif transaction != holder:
            return _answer(400, "The Transaction UID is missing or incorrect")
        elif not self._may_end(uid, wanted):
            return _answer(409, "The Target URI did not meet final state requirements")
        self.items[uid][STATE] = {"vr": "CS", "Value": [wanted]}
        return Response(status_code=200)

    def update(self, uid: str, changes: dict[str, Any], transaction: str) -> Response:
        if self.state(uid) in _FINAL:
            return _answer(410, "The UPS may no longer be updated")
        if self.state(uid) == "IN PROGRESS" and transaction != self.transactions[uid]:
            return _answer(400, "The Transaction UID is missing or incorrect")
        if {STATE, TRANSACTION, UID} & changes.keys():
            return _answer(400, "The state is changed elsewhere")
        if _STEP in changes:
            step = changes[_STEP]["Value"][0]
            self.progress.setdefault(uid, []).append(str(_value(step, "00741006")))
        self.items[uid] |= changes
        return Response(status_code=200)

    def _may_end(self, uid: str, wanted: str) -> bool:
        item = self.items[uid]
        if wanted == "COMPLETED":
            done = (item.get(_PERFORMED, {}).get("Value") or [{}])[0]
            return {"00404028", "00404019", "00404050", "00404051", _OUTPUT} <= done.keys()
        step = (item.get(_STEP, {}).get("Value") or [{}])[0]
        return _REASON in step


def app_of(origin: Origin) -> FastAPI:
    """The service root is `/dicom-web`."""
    app = FastAPI()

    @app.get("/dicom-web/workitems")
    def search(request: Request) -> Response:
        asked = request.query_params
        code = asked.get("ScheduledWorkitemCodeSequence.CodeValue")
        found = [
            each
            for each in origin.items.values()
            if asked.get("ProcedureStepState", _value(each, STATE)) == _value(each, STATE)
            and code in (None, _value(each[CODES]["Value"][0], "00080100"))
        ]
        return _json(found) if found else Response(status_code=204)

    @app.get("/dicom-web/workitems/{uid}")
    def retrieve(uid: str) -> Response:
        return _json([origin.items[uid]]) if uid in origin.items else Response(status_code=404)

    @app.post("/dicom-web/workitems/{uid}")
    async def update(uid: str, request: Request) -> Response:
        if uid not in origin.items:
            return Response(status_code=404)
        [changes] = await request.json()
        return origin.update(uid, changes, request.query_params.get("transaction-uid", ""))

    @app.put("/dicom-web/workitems/{uid}/state")
    async def change(uid: str, request: Request) -> Response:
        if uid not in origin.items:
            return Response(status_code=404)
        [body] = await request.json()
        return origin.change(uid, str(_value(body, STATE)), str(_value(body, TRANSACTION)))

    return app


def _value(item: dict[str, Any], tag: str) -> Any:
    return (item.get(tag, {}).get("Value") or [None])[0]


def _json(content: Any) -> Response:
    return JSONResponse(content, media_type="application/dicom+json")


def _answer(status: int, warning: str) -> Response:
    return Response(status_code=status, headers={"Warning": f"299 origin: {warning}"})


def _code(value: str, scheme: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, value
    return code


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class_uid
    reference.ReferencedSOPInstanceUID = sop_instance_uid
    return reference

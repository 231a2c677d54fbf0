"""What a running gateway writes into the audit trail, and that nothing of a patient is in it."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from pydicom import dcmread

from gateway import ReceivingAE, eventually, running_gateway, send, settings
from phantom import write_series
from tiny_model import TinyModel
from wetread.errors import AssociationRejectedError
from wetread.ledger import Ledger, ledger_url

pytestmark = pytest.mark.timeout(60)


def test_a_study_and_a_stranger_leave_their_events_and_no_name(
    tmp_path: Path, tiny_ct: TinyModel
) -> None:
    series = write_series(tmp_path / "study", shape=(6, 16, 16))
    study = series.study_instance_uid
    with ReceivingAE(tmp_path / "pacs") as pacs:
        config = settings(tmp_path, tiny_ct, {"pacs": pacs.destination})
        with running_gateway(config) as gateway:
            gateway.send(series.paths)
            gateway.deliveries(gateway.job(study).job_id)
            port = gateway.service.listener.port
            for _ in range(3):
                with pytest.raises(AssociationRejectedError):
                    send(series.paths, port, "STRANGER")
            trail = gateway.service.ledger.trail
            eventually(lambda: [e for e in trail.read() if "STRANGER" in e.message])
    with closing(Ledger(ledger_url(config))) as ledger:
        kept = list(ledger.trail.read())
        assert ledger.trail.verify() == kept[-1]
    seen = [each.content["EventIdentification"] for each in kept]
    assert Counter(each["EventTypeCode"][0]["originalText"] for each in seen) == {
        "Application Start": 1,
        "Security Configuration": 1,
        "Received": 2,
        "Routed by rules": 1,
        "Read by a model": 1,
        "Delivery of a result": 3,
        "Node Authentication": 1,
        "Application Stop": 1,
    }
    assert seen[0]["EventTypeCode"][0]["originalText"] == "Application Start"
    assert seen[-1]["EventTypeCode"][0]["originalText"] == "Application Stop"
    patient = dcmread(series.paths[0], stop_before_pixels=True)
    written = "\n".join(each.message for each in kept)
    assert str(patient.PatientID)
    for value in (patient.PatientID, *str(patient.PatientName).split("^")):
        assert not value or str(value) not in written

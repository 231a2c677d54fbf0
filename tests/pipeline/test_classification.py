"""A radiograph through a running gateway: it comes back as a report of its findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import ReceivingAE, running_gateway, settings
from radiograph import radiograph, write_radiograph
from readings import complaints
from report_content import content_items
from tiny_classifier import write_tiny_classifier
from wetread.dicom import terms

pytestmark = pytest.mark.timeout(60)
RULE = {"name": "radiographs", "when": {"modality": ["DX", "CR"]}, "run": ["tiny"]}


@pytest.mark.parametrize("modality", ["DX", "CR"])
def test_a_radiograph_comes_back_as_a_report(tmp_path: Path, modality: str) -> None:
    """Its bright block lies in the upper half, so "below" is unlikely, and absent."""
    tiny = write_tiny_classifier(tmp_path / "model")
    path = write_radiograph(tmp_path / "study/1.dcm", modality)
    with ReceivingAE(tmp_path / "pacs") as pacs:
        rules = [{**RULE, "send_results_to": ["pacs"]}]
        config = settings(tmp_path, tiny, {"pacs": pacs.destination}, rules=rules)
        with running_gateway(config) as gateway:
            gateway.send([path])
            job = gateway.job(radiograph(modality).StudyInstanceUID)
            gateway.deliveries(job.job_id)
            objects = pacs.objects()
    assert set(objects) == {"SR"}
    for sent in pacs.files.values():
        assert complaints(sent.read_bytes(), tmp_path) == []
    [probability] = content_items(objects["SR"], terms.PROBABILITY)
    percent = float(probability.MeasuredValueSequence[0].NumericValue)
    assert percent < 50
    assert job.outcome == f"Pneumonia {percent:.0f} % (present from 60 %)"
    [presence] = content_items(objects["SR"], terms.PRESENCE_OF_PROPERTY)
    assert presence.ConceptCodeSequence[0].CodeMeaning == terms.ABSENT.meaning

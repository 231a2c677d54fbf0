"""The report says whether the image is like those that the model was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.sr.coding import Code

from readings import MODEL, Reading, complaints, reading_of, report_text
from report_content import comments
from wetread.results import Finding, FindingsResult, InputCheck, SegmentationResult

UNLIKE = "Unlike what this model was trained on: distance 12.3, limit 8.4"
LIKE = "Like what this model was trained on: distance 3.2, limit 8.4"
FINDINGS = FindingsResult((Finding(Code("50960005", "SCT", "Hemorrhage"), 0.8, 0.5),), MODEL)


def with_check(
    reading: Reading, result: SegmentationResult | FindingsResult, distance: float
) -> Reading:
    return reading_of(reading.series, replace(result, input_check=InputCheck(distance, 8.4)))


@pytest.mark.parametrize(("distance", "text"), [(12.3, UNLIKE), (3.2, LIKE)])
@pytest.mark.parametrize("kind", ["segmentation", "findings"])
def test_the_report_says_how_far_the_image_is(
    one_part: Reading, kind: str, distance: float, text: str, tmp_path: Path
) -> None:
    """Second, behind the warning that it is not for diagnostic use."""
    result = one_part.result if kind == "segmentation" else FINDINGS
    checked = with_check(one_part, result, distance)
    assert comments(checked.dataset("SR"))[1] == text
    assert f'="{text}">' in report_text(checked.dataset("SR"), tmp_path)
    assert complaints(checked.files["SR"], tmp_path) == []


def test_a_model_without_a_gate_says_nothing(one_part: Reading) -> None:
    texts = comments(one_part.dataset("SR"))
    assert not [text for text in texts if "trained" in text]

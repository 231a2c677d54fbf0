"""The report of a classification: probability, operating point, present or absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.sr.coding import Code

from phantom import PhantomSeries, write_series
from readings import MODEL, Reading, complaints, reading_of, report_text
from report_content import (
    FINDING,
    FINDING_SITE,
    TRACKING_IDENTIFIER,
    TRACKING_UID,
    code_of,
    comments,
    content_items,
    evidence,
    groups,
    image_of,
    number,
    opens_in_ohif,
    points_of,
    presence,
    unit,
)
from wetread.dicom import terms
from wetread.errors import EncodingError
from wetread.results import Finding, FindingsResult, Measurement

HEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")
FRACTURE = Code("72704001", "SCT", "Fracture")
SIZE = Measurement(Code("246115007", "SCT", "Size"), 12.5, Code("mm", "UCUM", "millimeter"))
RESULT = FindingsResult(
    (
        Finding(HEMORRHAGE, 0.8125, 0.5, finding_site=terms.BRAIN, measurements=(SIZE,)),
        Finding(FRACTURE, 0.123456, 0.25),
    ),
    MODEL,
)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    return write_series(tmp_path_factory.mktemp("series"), shape=(7, 21, 18))


@pytest.fixture(scope="module")
def reading(series: PhantomSeries) -> Reading:
    return reading_of(series, RESULT)


def test_dciodvfy_and_dsrdump_read_it(reading: Reading, tmp_path: Path) -> None:
    assert complaints(reading.files["SR"], tmp_path) == []
    text = report_text(reading.dataset("SR"), tmp_path)
    assert '<contains NUM:(,,"Probability")="81.25" (%,UCUM,"Percent")>' in text


def test_each_finding_is_a_group_with_its_codes(reading: Reading) -> None:
    first, second = groups(reading.dataset("SR"))
    findings = [content_items(group, FINDING)[0] for group in (first, second)]
    assert [code_of(one.ConceptCodeSequence[0]) for one in findings] == [HEMORRHAGE, FRACTURE]
    (site,) = content_items(first, FINDING_SITE)
    assert code_of(site.ConceptCodeSequence[0]) == terms.BRAIN
    assert content_items(second, FINDING_SITE) == []


def test_probabilities_are_in_percent(reading: Reading) -> None:
    found = content_items(reading.dataset("SR"), terms.PROBABILITY)
    assert [number(one) for one in found] == [81.25, 12.35]
    assert {unit(one) for one in found} == {terms.PERCENT}


def test_the_operating_point_stands_beside_it(reading: Reading) -> None:
    found = content_items(reading.dataset("SR"), terms.THRESHOLD_VALUE)
    assert [number(one) for one in found] == [50.0, 25.0]


def test_a_finding_is_present_from_its_operating_point_on(series: PhantomSeries) -> None:
    findings = tuple(Finding(FRACTURE, value, 0.25) for value in (0.2499, 0.25, 1.0, 0.0))
    report = reading_of(series, replace(RESULT, findings=findings)).dataset("SR")
    present, absent = terms.PRESENT, terms.ABSENT
    assert [presence(group) for group in groups(report)] == [absent, present, present, absent]


def test_other_measurements_are_reported_too(reading: Reading) -> None:
    (size,) = content_items(reading.dataset("SR"), SIZE.name)
    assert (number(size), unit(size)) == (12.5, SIZE.unit)


def test_ohif_opens_every_group(reading: Reading) -> None:
    assert all(opens_in_ohif(group) for group in groups(reading.dataset("SR")))


def test_the_place_is_the_whole_frame_of_the_middle_slice(reading: Reading) -> None:
    """18 columns by 21 rows, from corner to corner."""
    probability, *_ = content_items(reading.dataset("SR"), terms.PROBABILITY)
    (region,) = [item for item in probability.ContentSequence if item.ValueType == "SCOORD"]
    middle = reading.source.instances[3].SOPInstanceUID
    assert image_of(region).ReferencedSOPInstanceUID == middle
    expected = [(0, 0), (18, 0), (18, 21), (0, 21), (0, 0)]
    np.testing.assert_array_equal(points_of(region), expected)


def test_findings_are_tracked_one_by_one(reading: Reading) -> None:
    report = reading.dataset("SR")
    names = [item.TextValue for item in content_items(report, TRACKING_IDENTIFIER)]
    assert names == ["Hemorrhage", "Fracture"]
    assert len({item.UID for item in content_items(report, TRACKING_UID)}) == 2


def test_warning_model_and_evidence_are_there(reading: Reading) -> None:
    report = reading.dataset("SR")
    warning, model = comments(report)
    assert warning == "Not for diagnostic use"
    assert MODEL.weights_sha256 in model
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (instances,) = evidence(study).values()
    assert len(instances) == 7


def test_no_findings_are_no_report(series: PhantomSeries) -> None:
    with pytest.raises(EncodingError, match="phantom_ct gave no findings") as caught:
        reading_of(series, replace(RESULT, findings=()))
    assert caught.value.hint


@pytest.mark.parametrize("value", [-0.01, 1.01, 81.25, float("nan")])
@pytest.mark.parametrize("field", ["probability", "operating_point"])
def test_a_number_that_is_no_probability_is_refused(
    series: PhantomSeries, field: str, value: float
) -> None:
    wrong = replace(RESULT.findings[1], **{field: value})
    with pytest.raises(EncodingError, match=f"{value} for Fracture is not a probability"):
        reading_of(series, replace(RESULT, findings=(wrong,)))

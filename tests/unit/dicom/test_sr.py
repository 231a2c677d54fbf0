"""The report of a segmentation: TID 1500, by its codes and by its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.sr.coding import Code

from phantom import PhantomSeries, write_series
from readings import (
    MODEL,
    Reading,
    complaints,
    read_by_tid1500reader,
    reading_of,
    report_text,
    result_context,
    result_of,
    segment,
)
from report_content import (
    FINDING,
    FINDING_SITE,
    TRACKING_IDENTIFIER,
    TRACKING_UID,
    code_of,
    comments,
    concept_of,
    content_items,
    derivation,
    evidence,
    groups,
    number,
    opens_in_ohif,
    points_of,
    presence,
    regions,
    to_lps,
    unit,
)
from wetread.dicom import terms
from wetread.results import PredecessorReference

RADIUS_MM = 50.0


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """A ball of 50 mm that holds tissue, lesion and box; every slice has a slope of its own."""
    series = write_series(
        tmp_path_factory.mktemp("uneven"), rescale_slopes=(1.0, 0.5, 2.0), oblique_degrees=12.0
    )
    return reading_of(series, result_of(in_ball(series, series.points()).astype(np.uint8)))


def test_dciodvfy_finds_no_error(any_reading: Reading, tmp_path: Path) -> None:
    assert complaints(any_reading.files["SR"], tmp_path) == []
    assert complaints(any_reading.files["SR"], tmp_path, "Warning") == []


@pytest.mark.parametrize(
    "keyword", ["CompletionFlag", "VerificationFlag", "ContentDate", "ValueType", "PatientID"]
)
def test_dciodvfy_notices_what_is_taken_out(
    one_part: Reading, tmp_path: Path, keyword: str
) -> None:
    dataset = one_part.dataset("SR")
    delattr(dataset, keyword)
    assert any(keyword in line for line in complaints(dataset, tmp_path))


def test_dciodvfy_notices_images_that_are_no_evidence(one_part: Reading, tmp_path: Path) -> None:
    dataset = one_part.dataset("SR")
    del dataset.CurrentRequestedProcedureEvidenceSequence
    assert any("not listed in Current" in line for line in complaints(dataset, tmp_path))


def test_dsrdump_reads_it(two_parts: Reading, tmp_path: Path) -> None:
    text = report_text(two_parts.dataset("SR"), tmp_path)
    assert text.startswith("Comprehensive 3D SR Document")
    assert '"Imaging Measurement Report"' in text
    assert text.count('<contains CONTAINER:(,,"Measurement Group")') == 2
    assert text.count('<contains NUM:(,,"Volume")') == 2


def test_dcmqi_reads_the_same_numbers(uneven: Reading, tmp_path: Path) -> None:
    """tid1500reader takes the report for TID 1500 and finds volume, mean and deviation."""
    (group,) = read_by_tid1500reader(uneven.dataset("SR"), tmp_path)
    values, volume = values_of(uneven.series), millilitres(uneven)
    found = [float(item["value"]) for item in group["measurementItems"]]
    assert found == pytest.approx([volume, values.mean(), values.std()], rel=1e-5)
    assert group["Finding"]["CodeValue"] == terms.BRAIN.value
    assert group["TrackingIdentifier"] == "Lesion 1"


def test_the_root_is_tid_1500(one_part: Reading) -> None:
    report = one_part.dataset("SR")
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    (template,) = report.ContentTemplateSequence
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "1500")
    assert concept_of(report) == terms.IMAGING_MEASUREMENT_REPORT
    (procedure,) = content_items(report, Code("121058", "DCM", "Procedure reported"))
    assert code_of(procedure.ConceptCodeSequence[0]) == terms.CT_PROCEDURE


def test_it_is_complete_unverified_and_preliminary(one_part: Reading) -> None:
    report = one_part.dataset("SR")
    flags = report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_the_observer_is_this_device(one_part: Reading) -> None:
    report, context = one_part.dataset("SR"), result_context()
    (kind,) = content_items(report, Code("121005", "DCM", "Observer Type"))
    assert code_of(kind.ConceptCodeSequence[0]) == terms.DEVICE
    (uid,) = content_items(report, Code("121012", "DCM", "Device Observer UID"))
    assert context.device_uid == uid.UID
    texts = {"121013": context.station_name, "121014": "wetread", "121016": context.device_uid}
    for value, text in texts.items():
        (item,) = content_items(report, Code(value, "DCM", ""))
        assert item.TextValue == text


def test_the_model_is_named_with_its_weights(one_part: Reading) -> None:
    """In each group, as its algorithm, and once for people."""
    report = one_part.dataset("SR")
    codes = {"111001": MODEL.name, "111003": MODEL.version}
    codes["111002"] = f"weights_sha256={MODEL.weights_sha256}"
    for value, text in codes.items():
        (item,) = content_items(report, Code(value, "DCM", ""))
        assert item.TextValue == text
    assert any(
        MODEL.name in text and MODEL.version in text and MODEL.weights_sha256 in text
        for text in comments(report)
    )


def test_it_says_that_it_is_not_for_diagnostic_use(one_part: Reading) -> None:
    """In the content, and in the list of series."""
    report = one_part.dataset("SR")
    assert "Not for diagnostic use" in comments(report)
    assert report.SeriesDescription == "wetread phantom_ct - not for diagnostic use"


def test_the_volume_is_voxels_times_the_volume_of_one(uneven: Reading) -> None:
    """A ball of 50 mm holds 523.6 mL."""
    (item,) = content_items(uneven.dataset("SR"), terms.VOLUME)
    volume = number(item)
    assert unit(item) == Code("ml", "UCUM", "milliliter")
    assert volume == pytest.approx(millilitres(uneven), rel=1e-5)
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.01)


def test_mean_and_deviation_are_those_of_the_files(uneven: Reading) -> None:
    """Stored values × slope + intercept, read from the files and not from our volume."""
    values = values_of(uneven.series)
    mean, deviation = content_items(uneven.dataset("SR"), terms.ATTENUATION_COEFFICIENT)
    assert derivation(mean) == terms.MEAN
    assert number(mean) == pytest.approx(values.mean(), rel=1e-5)
    assert derivation(deviation) == terms.STANDARD_DEVIATION
    assert number(deviation) == pytest.approx(values.std(), rel=1e-5)
    assert unit(mean) == unit(deviation) == Code("[hnsf'U]", "UCUM", "Hounsfield unit")
    assert values.std() > 30


def test_magnetic_resonance_has_a_signal_without_unit(enhanced: Reading) -> None:
    """120 HU of the phantom are 1144 as MR."""
    report = enhanced.dataset("SR")
    mean, *_ = content_items(report, terms.MR_SIGNAL_INTENSITY)
    assert (number(mean), unit(mean)) == (1144.0, Code("1", "UCUM", "no units"))
    assert content_items(report, terms.ATTENUATION_COEFFICIENT) == []


def test_each_segment_is_a_group_with_its_own_numbers(tmp_path: Path) -> None:
    """Tissue is 30 HU, the lesion 120 HU, and their volumes differ."""
    series = write_series(tmp_path)
    values = series.values()
    labelmap = np.where(values == 120, 4, np.where(values == 30, 9, 0)).astype(np.uint8)
    segments = (segment(1, 4), segment(2, 9, "Tissue"))
    reading = reading_of(series, result_of(labelmap, segments))
    lesion, tissue = groups(reading.dataset("SR"))
    for group, value, hounsfield in ((lesion, 4, 120.0), (tissue, 9, 30.0)):
        (volume,) = content_items(group, terms.VOLUME)
        expected = np.count_nonzero(labelmap == value) * reading.source.voxel_ml
        assert number(volume) == pytest.approx(expected, rel=1e-5)
        mean, _ = content_items(group, terms.ATTENUATION_COEFFICIENT)
        assert number(mean) == hounsfield


def test_groups_and_segments_have_the_same_tracking(two_parts: Reading) -> None:
    found = [
        (
            content_items(group, TRACKING_IDENTIFIER)[0].TextValue,
            content_items(group, TRACKING_UID)[0].UID,
        )
        for group in groups(two_parts.dataset("SR"))
    ]
    segments = two_parts.dataset("SEG").SegmentSequence
    assert found == [(one.TrackingID, one.TrackingUID) for one in segments]


def test_finding_and_site_are_the_segments_codes(two_parts: Reading) -> None:
    first, second = groups(two_parts.dataset("SR"))
    (finding,) = content_items(first, FINDING)
    assert code_of(finding.ConceptCodeSequence[0]) == terms.BRAIN
    (site,) = content_items(first, FINDING_SITE)
    assert code_of(site.ConceptCodeSequence[0]) == terms.BRAIN
    assert content_items(second, FINDING_SITE) == []


def test_the_evidence_is_every_source_image_and_the_seg(any_reading: Reading) -> None:
    (study,) = any_reading.dataset("SR").CurrentRequestedProcedureEvidenceSequence
    seg = any_reading.dataset("SEG")
    headers = [dcmread(path, stop_before_pixels=True) for path in any_reading.series.paths]
    assert study.StudyInstanceUID == any_reading.series.study_instance_uid
    assert evidence(study) == {
        any_reading.series.series_instance_uid: {
            (header.SOPClassUID, header.SOPInstanceUID) for header in headers
        },
        seg.SeriesInstanceUID: {(seg.SOPClassUID, seg.SOPInstanceUID)},
    }


def test_a_newer_report_names_its_predecessor(one_part: Reading, tmp_path: Path) -> None:
    earlier = PredecessorReference("1.2.5", "1.2.5.3", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.5.4")
    context = result_context(predecessors={"SR": earlier})
    report = reading_of(one_part.series, one_part.result, context).dataset("SR")
    (study,) = report.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == "1.2.5"
    assert evidence(study) == {"1.2.5.3": {(earlier.sop_class_uid, "1.2.5.4")}}
    assert "PredecessorDocumentsSequence" not in one_part.dataset("SR")
    assert complaints(report, tmp_path) == []


def test_ohif_opens_every_group(any_reading: Reading) -> None:
    found = groups(any_reading.dataset("SR"))
    assert len(found) == len(any_reading.result.segments)
    assert all(opens_in_ohif(group) for group in found)


def test_absent_segments_are_said_to_be_absent(tmp_path: Path) -> None:
    """0 mL and Absent, with a rectangle on which OHIF can hang it."""
    series = write_series(tmp_path)
    segments = (segment(1, 1), segment(2, 2, "Edema"))
    report = reading_of(series, result_of(series.mask(), segments)).dataset("SR")
    present, absent = groups(report)
    assert content_items(present, terms.PRESENCE_OF_PROPERTY) == []
    assert presence(absent) == terms.ABSENT
    (volume,) = content_items(absent, terms.VOLUME)
    assert (number(volume), unit(volume)) == (0.0, terms.MILLILITRE)
    assert opens_in_ohif(absent)
    assert not any("Nothing was segmented" in text for text in comments(report))
    assert complaints(report, tmp_path) == []


def test_an_empty_mask_is_said_in_words(tmp_path: Path) -> None:
    series = write_series(tmp_path)
    segments = (segment(1, 1), segment(2, 2, "Edema"))
    reading = reading_of(series, result_of(np.zeros(series.shape, np.uint8), segments))
    report = reading.dataset("SR")
    assert "Nothing was segmented: no voxel of Lesion, Edema" in comments(report)
    assert [presence(group) for group in groups(report)] == [terms.ABSENT, terms.ABSENT]
    assert all(opens_in_ohif(group) for group in groups(report))
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert set(evidence(study)) == {series.series_instance_uid}
    assert complaints(report, tmp_path) == []


def test_a_mask_of_one_voxel_is_reported(tmp_path: Path) -> None:
    """4.0 × 3.5 × 5.0 mm are 0.07 mL; the deviation of one value is 0."""
    series = write_series(tmp_path)
    labelmap = np.zeros(series.shape, np.uint8)
    labelmap[0, 0, 0] = 1
    report = reading_of(series, result_of(labelmap)).dataset("SR")
    (volume,) = content_items(report, terms.VOLUME)
    mean, deviation = content_items(report, terms.ATTENUATION_COEFFICIENT)
    assert (number(volume), number(mean), number(deviation)) == (0.07, -1000.0, 0.0)
    (region,) = regions(report)
    assert points_of(region).mean(axis=0) == pytest.approx((0.5, 0.5), abs=0.11)
    assert complaints(report, tmp_path) == []


def test_small_numbers_do_not_become_zero(tmp_path: Path) -> None:
    """One voxel of 0.5 × 0.5 × 0.5 mm is 0.000125 mL; a map may have values of 0.0012."""
    series = write_series(
        tmp_path,
        modality="MR",
        rescale_slopes=(0.00012,),
        **{f"{what}_spacing_mm": 0.5 for what in ("slice", "row", "column")},
    )
    for path in series.paths:
        image = dcmread(path)
        image.PixelData = np.arange(48 * 40, dtype="<u2").tobytes()
        image.save_as(path)
    labelmap = np.zeros(series.shape, np.uint8)
    labelmap[3, 0, 10] = 1
    report = reading_of(series, result_of(labelmap)).dataset("SR")
    (volume,) = content_items(report, terms.VOLUME)
    mean, _ = content_items(report, terms.MR_SIGNAL_INTENSITY)
    assert (number(volume), number(mean)) == (0.000125, 0.0012)
    assert complaints(report, tmp_path) == []


@pytest.mark.timeout(60)
def test_an_outline_of_very_many_points_stays_readable(tmp_path: Path) -> None:
    """Beyond 64 kB its coordinates would be written with the VR UN, which no viewer reads."""
    grid = {"shape": (2, 400, 400), "row_spacing_mm": 0.5, "column_spacing_mm": 0.5}
    series = write_series(tmp_path, **grid)
    labelmap = (np.random.default_rng(0).random(series.shape) < 0.62).astype(np.uint8)
    report = reading_of(series, result_of(labelmap)).dataset("SR")
    assert [item["GraphicData"].VR for item in regions(report)] == ["FL", "FL"]


def test_the_patient_is_not_in_the_content(one_part: Reading) -> None:
    report = one_part.dataset("SR")
    for keyword in ("PatientName", "PatientID", "ReferringPhysicianName"):
        setattr(report, keyword, "")
    assert one_part.series.patient_name not in str(report)


def in_ball(series: PhantomSeries, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.linalg.norm(points - series.phantom.centre, axis=-1) <= RADIUS_MM


def values_of(series: PhantomSeries) -> NDArray[np.float64]:
    """HU of all pixels in the ball, file by file."""
    found = []
    for image in map(dcmread, series.paths):
        rows, columns = np.mgrid[: image.Rows, : image.Columns]
        middles = np.stack([columns, rows], axis=-1) + 0.5
        inside = in_ball(series, to_lps(image, middles))
        found.append(image.pixel_array[inside] * image.RescaleSlope + image.RescaleIntercept)
    return np.concatenate(found).astype(float)


def millilitres(reading: Reading) -> float:
    voxel_mm3 = 4.0 * 3.5 * 5.0
    return float(np.count_nonzero(reading.result.labelmap) * voxel_mm3 / 1000)

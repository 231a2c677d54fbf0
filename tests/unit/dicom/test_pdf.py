"""Reports as PDF: what stands on the pages, as poppler reads them; the object around them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.sr.coding import Code

from phantom import PhantomSeries, write_series
from radiograph import write_radiograph
from readings import (
    MODEL,
    Reading,
    complaints,
    reading_of,
    result_context,
    result_of,
    segment,
    two_part_labelmap,
)
from wetread.dicom.attributes import read_series
from wetread.dicom.files import find_instances
from wetread.dicom.labels import count_labels
from wetread.dicom.pdf import document_segmentation
from wetread.dicom.volume import load_volume
from wetread.encode.registry import encode
from wetread.results import Finding, FindingsResult, InputCheck, PredecessorReference

ALSO = replace(result_context(), also=frozenset({"PDF"}))
SMALL = {"shape": (12, 40, 34), "slice_spacing_mm": 8.0}
SEGMENTS = (segment(1, 1), segment(2, 2, "Edema"), segment(3, 3, "Cyst"))
FINDINGS = FindingsResult(
    (
        Finding(Code("233604007", "SCT", "Pneumonia"), 0.873, 0.43),
        Finding(Code("60046008", "SCT", "Pleural effusion"), 0.1, 0.5),
    ),
    MODEL,
)


def reading_in(series: PhantomSeries) -> Reading:
    result = result_of(two_part_labelmap(series), SEGMENTS)
    return reading_of(series, replace(result, input_check=InputCheck(9.0, 5.0)), ALSO)


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    return reading_in(write_series(tmp_path_factory.mktemp("pdf"), **SMALL))


def pdf_of(dataset: Dataset, folder: Path) -> Path:
    """The PDF as dcmtk takes it out of the object."""
    source, path = folder / "report.dcm", folder / "report.pdf"
    dataset.save_as(source, enforce_file_format=True)
    subprocess.run(["/usr/bin/dcm2pdf", source, path], check=True, capture_output=True)
    return path


def text_of(path: Path) -> str:
    """Each line with its runs of blanks as one."""
    done = subprocess.run(
        ["/usr/bin/pdftotext", "-layout", path, "-"], check=True, capture_output=True, text=True
    )
    return "\n".join(" ".join(line.split()) for line in done.stdout.splitlines())


def told(path: Path) -> dict[str, str]:
    done = subprocess.run(["/usr/bin/pdfinfo", path], check=True, capture_output=True, text=True)
    pairs = (line.partition(":") for line in done.stdout.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def test_every_segment_stands_there_with_its_volume_or_as_not_found(
    reading: Reading, tmp_path: Path
) -> None:
    text = text_of(pdf_of(reading.dataset("PDF"), tmp_path))
    for number, name in ((1, "Lesion Brain Brain"), (2, "Edema Brain")):
        mask = reading.result.labelmap == number
        size = reading.source.extent.in_words(int(mask.sum()))
        assert f"{name} {size} {mask.any(axis=(1, 2)).sum()} of 12" in text
    assert "Cyst Brain not found 0 of 12" in text


def test_it_says_by_which_model_of_what_and_what_else_there_is(
    reading: Reading, tmp_path: Path
) -> None:
    text = text_of(pdf_of(reading.dataset("PDF"), tmp_path))
    assert "model phantom_ct, version 1.2.0" in text
    assert f"weights SHA-256 {'ab' * 32}" in text
    assert "made at 2025-03-04 05:06:07 UTC" in text
    assert "modality, images CT, 12 slices of 40 x 34, 8 x 4 x 3.5 mm" in text
    assert "study of 2025-03-04" in text
    for kind in ("SEG", "SR", "SC"):
        assert str(reading.dataset(kind).SOPInstanceUID) in text
    strange = "CAUTION. Unlike what this model was trained on: distance 9.0, limit 5.0"
    assert f"input gate {strange}" in text


def test_every_page_says_that_it_is_preliminary(reading: Reading, tmp_path: Path) -> None:
    path = pdf_of(reading.dataset("PDF"), tmp_path)
    text, pages = text_of(path), int(told(path)["Pages"])
    assert "PRELIMINARY - NOT FOR DIAGNOSTIC USE" in text
    assert text.count("wetread, preliminary. Not for diagnostic use.") == pages == 2


def test_nothing_of_the_patient_is_on_the_pages_but_their_study_is(tmp_path: Path) -> None:
    """Two patients with the same anatomy get the same pages, whatever their names are."""
    pages = []
    for name in ("Phantom^Head", "Ανδρέας^Иван"):
        series = write_series(tmp_path / name, patient_name=name, **SMALL)
        dataset = reading_in(series).dataset("PDF")
        assert str(dataset.PatientName) == name
        assert dataset.BurnedInAnnotation == "NO"
        pages.append(dataset.EncapsulatedDocument)
    assert pages[0] == pages[1]
    text = text_of(pdf_of(dataset, tmp_path))
    assert series.study_instance_uid in text
    assert series.series_instance_uid in text


def test_the_picture_of_the_sc_is_on_the_first_page_pixel_for_pixel(
    reading: Reading, tmp_path: Path
) -> None:
    path = pdf_of(reading.dataset("PDF"), tmp_path)
    subprocess.run(["/usr/bin/pdfimages", "-png", "-l", "1", path, tmp_path / "image"], check=True)
    [picture] = tmp_path.glob("image-*.png")
    assert np.array_equal(np.asarray(Image.open(picture)), reading.dataset("SC").pixel_array)


def test_it_is_an_archives_pdf_with_title_language_and_its_own_typeface(
    reading: Reading, tmp_path: Path
) -> None:
    path = pdf_of(reading.dataset("PDF"), tmp_path)
    assert told(path)["Tagged"] == "yes"
    content = path.read_bytes()
    assert b">phantom_ct: preliminary report</rdf:li>" in content
    assert b"<pdfaid:part>2</pdfaid:part><pdfaid:conformance>U</pdfaid:conformance>" in content
    assert b"/Lang (en)" in content
    fonts = subprocess.run(["/usr/bin/pdffonts", path], capture_output=True, text=True, check=True)
    assert [line.split()[4:7] for line in fonts.stdout.splitlines()[2:]] == [["yes"] * 3]


def test_nothing_is_drawn_beyond_the_margins(reading: Reading, tmp_path: Path) -> None:
    """And above the foot there is room, on each page."""
    path = pdf_of(reading.dataset("PDF"), tmp_path)
    subprocess.run(["/usr/bin/pdftoppm", "-r", "50", "-gray", path, tmp_path / "page"], check=True)
    for page in tmp_path.glob("page-*.pgm"):
        ink = np.asarray(Image.open(page)) < 250
        height, width = ink.shape
        margin = int(14 / 25.4 * 50)
        assert not ink[:, :margin].any()
        assert not ink[:, width - margin :].any()
        foot = height - int(19 / 25.4 * 50)
        assert not ink[foot : foot + 3].any()


def test_a_hundred_segments_go_on_over_pages(reading: Reading, tmp_path: Path) -> None:
    segments = tuple(
        replace(segment(number, number, f"Part {number} of a long list"), tracking_id=str(number))
        for number in range(1, 105)
    )
    result = result_of(two_part_labelmap(reading.series), segments)
    counts = count_labels(result, reading.source.shape)
    path = pdf_of(document_segmentation(result, reading.source, ALSO, counts, ()), tmp_path)
    text = text_of(path)
    assert all(f"Part {number} of a long list" in text for number in range(1, 105))
    assert text.count("segment type region volume slices") >= 2
    assert int(told(path)["Pages"]) <= 6


def test_findings_have_probability_operating_point_and_statement(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "in" / "1.dcm")
    source = load_volume(read_series(find_instances(path.parent)))
    [report] = [each for each in encode(FINDINGS, source, ALSO) if each.kind == "PDF"]
    text = text_of(pdf_of(report.dataset, tmp_path))
    assert "Pneumonia 87.3 % 43.0 % present" in text
    assert "Pleural effusion 10.0 % 50.0 % not present" in text
    assert "input gate This model has no input gate" in text
    assert "DX, 60 x 80 pixels, 0.2 x 0.2 mm" in text
    assert complaints(report.file_bytes(), tmp_path) == []


def test_an_empty_mask_has_a_report_too(reading: Reading, tmp_path: Path) -> None:
    empty = replace(reading.result, labelmap=np.zeros_like(reading.result.labelmap))
    found = reading_of(reading.series, empty, ALSO)
    assert list(found.files) == ["SR", "SC", "PDF"]
    assert text_of(pdf_of(found.dataset("PDF"), tmp_path)).count("not found") == 3


def test_dciodvfy_finds_no_error(reading: Reading, tmp_path: Path) -> None:
    assert complaints(reading.files["PDF"], tmp_path) == []
    assert complaints(reading.files["PDF"], tmp_path, "Warning") == []


@pytest.mark.parametrize("keyword", ["MIMETypeOfEncapsulatedDocument", "BurnedInAnnotation"])
def test_dciodvfy_notices_what_is_taken_out(reading: Reading, tmp_path: Path, keyword: str) -> None:
    dataset = reading.dataset("PDF")
    delattr(dataset, keyword)
    assert complaints(dataset, tmp_path) != []


def test_nobody_verified_it_and_it_names_its_images(reading: Reading) -> None:
    dataset = reading.dataset("PDF")
    assert dataset.VerificationFlag == "UNVERIFIED"
    title = "phantom_ct: preliminary report. Not for diagnostic use"
    assert (dataset.Modality, dataset.DocumentTitle) == ("DOC", title)
    sources = [one.ReferencedSOPInstanceUID for one in dataset.SourceInstanceSequence]
    assert sources == [one.SOPInstanceUID for one in reading.source.instances]


def test_a_newer_report_says_what_it_replaces(reading: Reading, tmp_path: Path) -> None:
    earlier = PredecessorReference(
        reading.series.study_instance_uid, "1.2.5.3", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.5.4"
    )
    context = replace(ALSO, predecessors={"PDF": earlier})
    dataset = reading_of(reading.series, reading.result, context).dataset("PDF")
    [study] = dataset.PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.5.4"
    assert complaints(dataset, tmp_path) == []

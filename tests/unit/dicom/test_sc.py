"""The Secondary Capture of a result, as a PACS gets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from phantom import write_series
from readings import MODEL, Reading, complaints, reading_of, result_context, result_of
from report_content import code_of
from wetread.dicom import terms
from wetread.dicom.sc import CaptureWords, capture
from wetread.errors import EncodingError
from wetread.results import PredecessorReference

SMALL = {"shape": (6, 21, 18), "slice_spacing_mm": 18, "row_spacing_mm": 9, "column_spacing_mm": 8}


def test_dciodvfy_finds_no_error(any_reading: Reading, tmp_path: Path) -> None:
    assert complaints(any_reading.files["SC"], tmp_path) == []
    assert complaints(any_reading.files["SC"], tmp_path, "Warning") == []


@pytest.mark.parametrize(
    "keyword", ["ConversionType", "PatientOrientation", "PlanarConfiguration", "BitsStored"]
)
def test_dciodvfy_notices_what_is_taken_out(
    one_part: Reading, tmp_path: Path, keyword: str
) -> None:
    dataset = one_part.dataset("SC")
    delattr(dataset, keyword)
    assert any(keyword in line for line in complaints(dataset, tmp_path))


def test_it_is_an_rgb_picture(any_reading: Reading) -> None:
    capture = any_reading.dataset("SC")
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert (capture.PhotometricInterpretation, capture.SamplesPerPixel) == ("RGB", 3)
    assert (capture.BitsAllocated, capture.PlanarConfiguration) == (8, 0)
    assert capture.pixel_array.shape == (capture.Rows, capture.Columns, 3)
    assert capture.pixel_array.std() > 20
    assert len(capture.PixelData) % 2 == 0


def test_it_says_what_it_is(one_part: Reading) -> None:
    capture = one_part.dataset("SC")
    assert capture.ImageComments == "phantom_ct 1.2.0. Not for diagnostic use"
    assert capture.SeriesDescription == "wetread phantom_ct montage"
    assert list(capture.ImageType) == ["DERIVED", "SECONDARY"]
    assert capture.ConversionType == "WSD"


def test_it_names_its_source_images(any_reading: Reading) -> None:
    capture = any_reading.dataset("SC")
    uids = [dcmread(path).SOPInstanceUID for path in any_reading.series.paths]
    found = [item.ReferencedSOPInstanceUID for item in capture.SourceImageSequence]
    assert sorted(found) == sorted(uids)
    purposes = {
        code_of(item.PurposeOfReferenceCodeSequence[0]) for item in capture.SourceImageSequence
    }
    assert purposes == {terms.SOURCE_IMAGE}


def test_nothing_of_the_patient_is_in_the_picture(tmp_path: Path) -> None:
    """Two patients with the same anatomy get the same pixels."""
    pictures = []
    for name in ("Phantom^Head", "Somebody^Else"):
        series = write_series(tmp_path / name, patient_name=name, **SMALL)
        pictures.append(reading_of(series, result_of(series.mask())).dataset("SC"))
    assert pictures[0].PixelData == pictures[1].PixelData
    assert {one.BurnedInAnnotation for one in pictures} == {"NO"}


@pytest.mark.parametrize(
    ("body_part", "laterality"), [("HEAD", None), ("", None), ("KNEE", "L"), ("", "R")]
)
def test_body_part_and_side_are_the_sources(
    tmp_path: Path, body_part: str, laterality: str | None
) -> None:
    series = write_series(tmp_path, body_part=body_part, **SMALL)
    for path in series.paths if laterality else ():
        dataset = dcmread(path)
        dataset.Laterality = laterality
        dataset.save_as(path)
    capture = reading_of(series, result_of(series.mask())).dataset("SC")
    assert (capture.get("BodyPartExamined") or "") == body_part
    assert (capture.get("Laterality") or None) == laterality
    assert complaints(capture, tmp_path) == []


def test_an_empty_mask_has_a_picture_too(tmp_path: Path) -> None:
    series = write_series(tmp_path, **SMALL)
    empty = np.zeros(series.shape, np.uint8)
    assert complaints(reading_of(series, result_of(empty)).files["SC"], tmp_path) == []


def test_a_newer_capture_says_what_it_replaces(one_part: Reading, tmp_path: Path) -> None:
    earlier = PredecessorReference(
        one_part.series.study_instance_uid, "1.2.5.3", "1.2.840.10008.5.1.4.1.1.7", "1.2.5.4"
    )
    context = result_context(predecessors={"SC": earlier})
    capture = reading_of(one_part.series, one_part.result, context).dataset("SC")
    (image,) = capture.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == "1.2.5.4"
    assert code_of(image.PurposeOfReferenceCodeSequence[0]) == terms.TEMPORAL_PREDECESSOR
    assert complaints(capture, tmp_path) == []


def test_any_picture_becomes_a_capture_of_its_source(one_part: Reading, tmp_path: Path) -> None:
    """An odd number of bytes, which Pixel Data may not have, is padded (PS3.5 8.1.1)."""
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    words = CaptureWords("heat map", "What the answer rests on, by gradcam")
    dataset = capture(pixels, one_part.source, result_context(), MODEL, words)
    assert complaints(dataset, tmp_path) == []
    assert np.array_equal(dataset.pixel_array, pixels)
    assert dataset.SeriesDescription == "wetread phantom_ct heat map"
    assert dataset.DerivationDescription == "What the answer rests on, by gradcam"
    assert dataset.StudyInstanceUID == one_part.series.study_instance_uid


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_no_rgb_picture_is_an_encoding_error(one_part: Reading, pixels: np.ndarray) -> None:
    with pytest.raises(EncodingError, match="a picture of shape"):
        capture(pixels, one_part.source, result_context(), MODEL, CaptureWords("x", "y"))

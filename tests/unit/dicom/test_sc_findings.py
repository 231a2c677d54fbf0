"""What a classification says of a radiograph: SR and heat map, valid without a place in space."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from phantom import write_series
from radiograph import BLOCK, SHAPE, write_radiograph
from readings import MODEL, complaints, reading_of, report_text, result_context
from report_content import content_items, groups, image_of, opens_in_ohif
from wetread.dicom import terms
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.encode.registry import encode
from wetread.results import Finding, FindingsResult, HeatMap


def finding() -> Finding:
    return Finding(terms.BRAIN, 0.87, 0.43)


def result(values: np.ndarray | None, slice_index: int | None = 0) -> FindingsResult:
    heat_map = None if values is None else HeatMap(values, terms.BRAIN, "Grad-CAM")
    return FindingsResult((finding(),), MODEL, slice_index=slice_index, heat_map=heat_map)


@pytest.fixture(params=["CR", "DX"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> SourceVolume:
    write_radiograph(tmp_path / "images/1.dcm", request.param)
    [series] = read_study(find_instances(tmp_path / "images")).series
    return load_volume(series)


def block_map() -> np.ndarray:
    values = np.zeros(SHAPE, np.float32)
    values[BLOCK] = 1.0
    return values


def objects_of(source: SourceVolume, values: np.ndarray | None) -> dict[str, Dataset]:
    found = encode(result(values), source, result_context())
    return {each.kind: dcmread(BytesIO(each.file_bytes())) for each in found}


def test_dciodvfy_has_no_complaint(source: SourceVolume, tmp_path: Path) -> None:
    objects = objects_of(source, block_map())
    assert set(objects) == {"SR", "SC"}
    for each in encode(result(block_map()), source, result_context()):
        assert complaints(each.file_bytes(), tmp_path) == []


def test_the_report_names_the_radiograph(source: SourceVolume, tmp_path: Path) -> None:
    report = objects_of(source, None)["SR"]
    text = report_text(report, tmp_path)
    assert '"Probability")="87.0"' in text
    assert '"Threshold Value")="43.0"' in text
    probability, *_ = content_items(report, terms.PROBABILITY)
    (region,) = [item for item in probability.ContentSequence if item.ValueType == "SCOORD"]
    assert image_of(region).ReferencedSOPInstanceUID == source.instances[0].SOPInstanceUID
    assert all(opens_in_ohif(group) for group in groups(report))


def test_the_picture_is_warm_where_the_map_is(source: SourceVolume) -> None:
    """The block is above on the right of the picture; beside the plain picture the map is red."""
    picture = objects_of(source, block_map())["SC"]
    pixels = picture.pixel_array.astype(int)
    assert picture.DerivationDescription == "Grad-CAM of Brain"
    warm = pixels[..., 0] - pixels[..., 2] > 60
    rows, columns = np.nonzero(warm[: pixels.shape[0] * 3 // 4])
    right_half = pixels.shape[1] / 2
    assert (columns > right_half).mean() > 0.9
    assert rows.mean() < pixels.shape[0] / 2


def test_without_a_map_there_is_no_picture(source: SourceVolume) -> None:
    assert set(objects_of(source, None)) == {"SR"}


def test_a_slice_with_a_place_has_its_map_as_a_parametric_map(tmp_path: Path) -> None:
    """One frame, of the slice that speaks most, with the values as they are."""
    series = write_series(tmp_path / "series", shape=(7, 21, 18))
    values = np.linspace(0, 1, 21 * 18, dtype=np.float32).reshape(21, 18)
    reading = reading_of(series, result(values, slice_index=5))
    assert list(reading.files) == ["SR", "SC", "PM"]
    assert complaints(reading.files["PM"], tmp_path) == []
    found = reading.dataset("PM")
    assert np.array_equal(np.frombuffer(found.FloatPixelData, "<f4").reshape(21, 18), values)
    [frame] = found.PerFrameFunctionalGroupsSequence
    position = frame.PlanePositionSequence[0].ImagePositionPatient
    assert position == reading.source.instances[5].ImagePositionPatient


def test_the_report_points_at_the_slice_that_speaks_most(tmp_path: Path) -> None:
    series = write_series(tmp_path, shape=(7, 21, 18))
    reading = reading_of(series, result(None, slice_index=5))
    probability, *_ = content_items(reading.dataset("SR"), terms.PROBABILITY)
    (region,) = [item for item in probability.ContentSequence if item.ValueType == "SCOORD"]
    wanted = reading.source.instances[5].SOPInstanceUID
    assert image_of(region).ReferencedSOPInstanceUID == wanted

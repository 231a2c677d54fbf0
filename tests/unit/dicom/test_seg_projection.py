"""A mask on a radiograph: relative to its image, for it has no place in the patient."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pytest

from radiograph import BLOCK, SHAPE, write_radiograph
from readings import complaints, result_context, result_of, segment
from report_content import (
    code_of,
    content_items,
    groups,
    number,
    opens_in_ohif,
    points_of,
    unit,
)
from wetread.dicom import terms
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.encode.registry import EncodedObject, encode
from wetread.reading import outcome_of, volumes_ml, voxels_of
from wetread.results import SegmentationResult

# 20 × 20 pixels of 0.2 mm.
AREA_MM2 = 16.0


@pytest.fixture(params=["CR", "DX"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> SourceVolume:
    write_radiograph(tmp_path / "source" / "1.dcm", request.param)
    [series] = read_study(find_instances(tmp_path / "source")).series
    return load_volume(series)


def result() -> SegmentationResult:
    labelmap = np.zeros((1, *SHAPE), np.uint8)
    labelmap[0][BLOCK] = 1
    return result_of(labelmap, (segment(1, 1, "Block"), segment(2, 2, "Absent")))


def objects(source: SourceVolume) -> dict[str, EncodedObject]:
    return {each.kind: each for each in encode(result(), source, result_context())}


def test_a_frame_is_the_pixels_of_its_image(source: SourceVolume, tmp_path: Path) -> None:
    seg = objects(source)["SEG"].dataset
    assert "FrameOfReferenceUID" not in seg
    assert complaints(seg, tmp_path) == []
    (tmp_path / "seg.dcm").write_bytes(objects(source)["SEG"].file_bytes())
    read = highdicom.seg.segread(tmp_path / "seg.dcm")
    uid = source.instances[0].SOPInstanceUID
    [pixels] = read.get_pixels_by_source_instance([uid], segment_numbers=[1])
    np.testing.assert_array_equal(pixels[..., 0], result().labelmap[0])


def test_the_report_has_the_area_and_no_volume(source: SourceVolume, tmp_path: Path) -> None:
    report = objects(source)["SR"].dataset
    assert complaints(report, tmp_path) == []
    block, absent = groups(report)
    [area] = content_items(block, terms.AREA)
    assert (number(area), unit(area)) == (pytest.approx(AREA_MM2), terms.SQUARE_MILLIMETRE)
    assert number(content_items(absent, terms.AREA)[0]) == 0
    assert not content_items(block, terms.VOLUME)
    assert opens_in_ohif(block)
    [outline] = [one for one in area.ContentSequence if one.ValueType == "SCOORD"]
    columns, rows = points_of(outline).T
    assert (rows.min(), rows.max()) == (BLOCK[0].start, BLOCK[0].stop)
    assert (columns.min(), columns.max()) == (BLOCK[1].start, BLOCK[1].stop)


def test_it_is_reported_as_a_radiograph(source: SourceVolume) -> None:
    report = objects(source)["SR"].dataset
    [procedure] = [
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121058"
    ]
    assert code_of(procedure.ConceptCodeSequence[0]) == terms.XR_PROCEDURE


def test_its_size_is_an_area_in_words(source: SourceVolume) -> None:
    voxels = voxels_of(result())
    assert outcome_of(result(), voxels, source.extent) == "Block 0.16 cm²"
    assert volumes_ml(voxels, source.extent) == {}


def test_the_capture_is_conformant(source: SourceVolume, tmp_path: Path) -> None:
    assert complaints(objects(source)["SC"].dataset, tmp_path) == []

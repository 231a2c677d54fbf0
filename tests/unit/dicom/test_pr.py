"""Presentation states: what was found is drawn where it is, over images that look as they did."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from skimage.draw import polygon2mask

from phantom import write_series
from radiograph import BLOCK, write_radiograph
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
from wetread.dicom.colour import cielab_words
from wetread.dicom.files import find_instances
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.encode.registry import encode
from wetread.results import Finding, FindingsResult, InputCheck, ResultContext

ALSO = replace(result_context(), also=frozenset({"PR"}))
SMALL = {"shape": (12, 40, 34), "slice_spacing_mm": 8.0}
SEGMENTS = (segment(1, 1), segment(2, 2, "Edema"))
PNEUMONIA = Finding(Code("233604007", "SCT", "Pneumonia"), 0.87, 0.43)
FINDINGS = FindingsResult((PNEUMONIA,), MODEL, input_check=InputCheck(9.0, 5.0))


@pytest.fixture(scope="module", params=["CT", "enhanced MR"])
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """Two halves of the ellipsoid, with a hole."""
    kind = {} if request.param == "CT" else {"modality": "MR", "enhanced": True}
    series = write_series(tmp_path_factory.mktemp("pr"), shuffled=True, **SMALL, **kind)
    labelmap = two_part_labelmap(series)
    labelmap[np.linalg.norm(series.points() - series.ellipsoid_centre, axis=-1) < 12] = 0
    return reading_of(series, result_of(labelmap, SEGMENTS), ALSO)


def drawn(state: Dataset, source: SourceVolume, layer: str) -> NDArray[np.bool_]:
    """What the polylines of a layer enclose, by parity."""
    found = np.zeros(source.shape, bool)
    for item in state.GraphicAnnotationSequence:
        number = slice_of(item, source)
        for line in item.get("GraphicObjectSequence", []) if item.GraphicLayer == layer else []:
            points = np.array(line.GraphicData).reshape(-1, 2)
            assert (line.GraphicAnnotationUnits, line.GraphicType) == ("PIXEL", "POLYLINE")
            assert len(points) == line.NumberOfGraphicPoints
            found[number] ^= polygon2mask(source.shape[1:], points[:, ::-1] - 0.5)
    return found


def slice_of(item: Dataset, source: SourceVolume) -> int:
    [image] = item.ReferencedImageSequence
    frame = image.get("ReferencedFrameNumber")
    every = [source.instance_of(number) for number in range(source.shape[0])]
    return [(one.SOPInstanceUID, at) for one, at in every].index(
        (image.ReferencedSOPInstanceUID, frame)
    )


def words(state: Dataset) -> list[str]:
    return [
        text.UnformattedTextValue
        for item in state.GraphicAnnotationSequence
        for text in item.TextObjectSequence
    ]


def test_the_outlines_enclose_the_mask_on_its_images(reading: Reading) -> None:
    state = reading.dataset("PR")
    for number in (1, 2):
        mask = reading.result.labelmap == number
        assert np.array_equal(drawn(state, reading.source, f"SEGMENT{number}"), mask)


def test_an_outline_of_too_many_corners_is_drawn_in_pieces_that_meet(
    monkeypatch: pytest.MonkeyPatch, one_part: Reading
) -> None:
    def lines_of(state: Dataset) -> list[list[tuple[float, ...]]]:
        return [
            [tuple(point) for point in np.array(line.GraphicData).reshape(-1, 2).tolist()]
            for item in state.GraphicAnnotationSequence
            for line in item.get("GraphicObjectSequence", [])
        ]

    whole = lines_of(reading_of(one_part.series, one_part.result, ALSO).dataset("PR"))
    monkeypatch.setattr("wetread.dicom.pr.MOST_POINTS", 5)
    pieces = lines_of(reading_of(one_part.series, one_part.result, ALSO).dataset("PR"))
    assert max(map(len, pieces)) == 6
    joined: list[list[tuple[float, ...]]] = [[]]
    for piece in pieces:
        joined[-1] += piece[1:] if joined[-1] else piece
        if joined[-1][0] == joined[-1][-1]:
            joined.append([])
    assert joined[:-1] == whole


def test_each_outline_has_its_name_and_size(reading: Reading) -> None:
    size = reading.source.extent.in_words(int((reading.result.labelmap == 1).sum()))
    assert words(reading.dataset("PR")).count(f"Lesion {size}") == len(
        np.unique(np.nonzero(reading.result.labelmap == 1)[0])
    )


def test_every_image_with_a_mark_says_what_made_it_and_that_it_is_not_for_diagnosis(
    reading: Reading,
) -> None:
    state, source = reading.dataset("PR"), reading.source
    marked, said = set(), set()
    for item in state.GraphicAnnotationSequence:
        (said if item.GraphicLayer == "WORDS" else marked).add(slice_of(item, source))
    assert said == marked == set(np.nonzero(reading.result.labelmap)[0].tolist())
    text = "wetread phantom_ct 1.2.0: preliminary, automatic. Not for diagnostic use"
    assert words(state).count(text) == len(said)


def test_layers_have_the_colours_of_the_segments(reading: Reading) -> None:
    layers = reading.dataset("PR").GraphicLayerSequence
    assert [one.GraphicLayerDescription for one in layers][:2] == ["Lesion", "Edema"]
    colours = [list(one.GraphicLayerRecommendedDisplayCIELabValue) for one in layers[:2]]
    assert colours == [cielab_words(one.cielab) for one in SEGMENTS]


def test_dciodvfy_finds_no_error(reading: Reading, tmp_path: Path) -> None:
    assert complaints(reading.files["PR"], tmp_path) == []
    assert complaints(reading.files["PR"], tmp_path, "Warning") == []


@pytest.mark.parametrize("keyword", ["ContentLabel", "DisplayedAreaSelectionSequence"])
def test_dciodvfy_notices_what_is_taken_out(reading: Reading, tmp_path: Path, keyword: str) -> None:
    state = reading.dataset("PR")
    delattr(state, keyword)
    assert complaints(state, tmp_path) != []


def test_it_is_not_made_unless_asked_for_nor_of_an_empty_mask(one_part: Reading) -> None:
    assert "PR" not in one_part.files
    empty = replace(one_part.result, labelmap=np.zeros_like(one_part.result.labelmap))
    assert list(reading_of(one_part.series, empty, ALSO).files) == ["SR", "SC"]


def test_images_that_are_rescaled_alike_keep_their_hounsfield_units(tmp_path: Path) -> None:
    series = write_series(tmp_path, **SMALL)
    state = reading_of(series, result_of(series.mask()), ALSO).dataset("PR")
    assert (state.RescaleSlope, state.RescaleIntercept, state.RescaleType) == (1, -1024, "HU")
    [window] = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (40, 400)


def test_images_that_are_rescaled_differently_have_windows_of_stored_values(tmp_path: Path) -> None:
    """A presentation state has one Modality LUT for all; 40 HU are 1064 or, by halves, 2128."""
    series = write_series(tmp_path, rescale_slopes=(1.0, 0.5), **SMALL)
    reading = reading_of(series, result_of(series.mask()), ALSO)
    state = reading.dataset("PR")
    assert "RescaleSlope" not in state
    found = {
        (float(one.WindowCenter), float(one.WindowWidth)): len(one.ReferencedImageSequence)
        for one in state.SoftcopyVOILUTSequence
    }
    assert found == {(1064.0, 400.0): 6, (2128.0, 800.0): 6}
    assert complaints(state, tmp_path) == []


def test_windows_are_those_of_the_images(tmp_path: Path) -> None:
    """Two on each, with their names, and another one on the first image."""
    series = write_series(tmp_path, **SMALL)
    for path in series.paths:
        image = dcmread(path)
        image.WindowCenter, image.WindowWidth = [50, 600], [350, 1500]
        image.WindowCenterWidthExplanation = ["SOFT", "LUNG"]
        if path == series.paths[0]:
            image.WindowCenter = [60, 600]
        image.save_as(path)
    state = reading_of(series, result_of(series.mask()), ALSO).dataset("PR")
    found = sorted(
        (list(one.WindowCenter), len(one.ReferencedImageSequence))
        for one in state.SoftcopyVOILUTSequence
    )
    assert found == [([50, 600], 11), ([60, 600], 1)]
    assert list(state.SoftcopyVOILUTSequence[0].WindowCenterWidthExplanation) == ["SOFT", "LUNG"]
    assert complaints(state, tmp_path) == []


def rendered(image: Path, state: bytes, folder: Path) -> NDArray[np.uint8]:
    """The greys in which dcmtk shows an image by a presentation state."""
    (folder / "state.dcm").write_bytes(state)
    command = ["/usr/bin/dcmp2pgm", "-p", folder / "state.dcm", image, folder / "shown.pgm"]
    subprocess.run(command, check=True, capture_output=True)
    return np.asarray(Image.open(folder / "shown.pgm"))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_shows_a_radiograph_with_its_bright_block_bright(
    tmp_path: Path, photometric: str
) -> None:
    path = write_radiograph(tmp_path / "in" / "1.dcm", PhotometricInterpretation=photometric)
    shown = rendered(path, state_of(path, FINDINGS), tmp_path)
    assert shown[BLOCK].min() > 200
    assert shown[:8].max() < 50


def state_of(path: Path, result: FindingsResult, context: ResultContext = ALSO) -> bytes:
    source = load_volume(read_series(find_instances(path.parent)))
    [state] = [each for each in encode(result, source, context) if each.kind == "PR"]
    return state.file_bytes()


def test_findings_are_words_with_probability_and_the_verdict_of_the_gate(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "in" / "1.dcm")
    (tmp_path / "state.dcm").write_bytes(state_of(path, FINDINGS))
    state = dcmread(tmp_path / "state.dcm")
    assert words(state) == [
        "Pneumonia: 87 %, present (from 43 %)",
        "Unlike what this model was trained on: distance 9.0, limit 5.0\r\n"
        "wetread phantom_ct 1.2.0: preliminary, automatic. Not for diagnostic use",
    ]
    assert complaints(state, tmp_path) == []


def test_a_mask_on_a_radiograph_has_an_area(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "in" / "1.dcm")
    source = load_volume(read_series(find_instances(path.parent)))
    labelmap = np.zeros(source.shape, np.uint8)
    labelmap[0][BLOCK] = 1
    [state] = [each for each in encode(result_of(labelmap), source, ALSO) if each.kind == "PR"]
    assert words(state.dataset)[0] == "Lesion 0.16 cm2"
    assert np.array_equal(drawn(state.dataset, source, "SEGMENT1"), labelmap == 1)
    assert complaints(state.file_bytes(), tmp_path) == []

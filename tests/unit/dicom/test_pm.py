"""The Parametric Map of an explanation, as a PACS gets it and as highdicom reads it."""

from __future__ import annotations

import copy
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from phantom import Floats, received, write_series
from readings import MODEL, complaints, result_context
from report_content import code_of
from wetread.dicom import terms
from wetread.dicom.pm import MapWords, build_parametric_map
from wetread.dicom.result_header import file_bytes
from wetread.dicom.volume import SourceVolume, load_volume
from wetread.errors import EncodingError
from wetread.results import PredecessorReference

SHAPE = (6, 21, 18)
WORDS = MapWords(terms.SALIENCY, "why Pneumonia", "saliency")


@pytest.fixture(scope="module", params=["classic", "enhanced"])
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SourceVolume:
    """Oblique and shuffled."""
    folder = tmp_path_factory.mktemp(request.param)
    is_enhanced = request.param == "enhanced"
    series = write_series(
        folder,
        shape=SHAPE,
        modality="MR" if is_enhanced else "CT",
        enhanced=is_enhanced,
        oblique_degrees=20,
        shuffled=True,
        body_part="" if is_enhanced else "HEAD",
    )
    return load_volume(received(series))


def function_of_place(source: SourceVolume, number: int) -> NDArray[np.float32]:
    """Values that are arithmetic of LPS millimetres: x + 1000 y + z / 8."""
    rows, columns = np.meshgrid(*(np.arange(size) for size in SHAPE[1:]), indexing="ij")
    index = np.stack([np.full_like(rows, number), rows, columns], axis=-1)
    return at(index @ source.affine[:3, :3].T + source.affine[:3, 3])


def at(points_lps: Floats) -> NDArray[np.float32]:
    return np.asarray(points_lps @ (1.0, 1000.0, 0.125), np.float32)


def built(source: SourceVolume, slices: tuple[int, ...] = (4, 1, 2)) -> Dataset:
    maps = {number: function_of_place(source, number) for number in slices}
    return build_parametric_map(maps, source, result_context(), MODEL, WORDS)


def read_back(dataset: Dataset) -> highdicom.Image:
    return highdicom.imread(BytesIO(file_bytes(dataset)))


def test_dciodvfy_finds_no_error(source: SourceVolume, tmp_path: Path) -> None:
    assert complaints(built(source), tmp_path) == []
    assert complaints(built(source), tmp_path, "Warning") == []


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "ContentQualification", "ImageType"])
def test_dciodvfy_notices_what_is_taken_out(
    source: SourceVolume, tmp_path: Path, keyword: str
) -> None:
    dataset = built(source)
    delattr(dataset, keyword)
    assert complaints(dataset, tmp_path) != []


def test_the_same_value_stands_at_the_same_millimetre(source: SourceVolume) -> None:
    read = read_back(built(source))
    frames = read.get_frames(apply_real_world_transform=True)
    groups = read.PerFrameFunctionalGroupsSequence
    shared = read.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
    rows, columns = np.meshgrid(*(np.arange(size) for size in SHAPE[1:]), indexing="ij")
    for frame, group in zip(frames, groups, strict=True):
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        points = origin + rows[..., None] * between_rows * cosines[3:]
        points = points + columns[..., None] * between_columns * cosines[:3]
        assert np.allclose(frame, at(points), rtol=0, atol=0.05)


def test_only_the_slices_that_were_explained_are_there_each_with_its_image(
    source: SourceVolume,
) -> None:
    dataset = built(source)
    assert dataset.NumberOfFrames == 3
    found = []
    for group in dataset.PerFrameFunctionalGroupsSequence:
        [derivation] = group.DerivationImageSequence
        [image] = derivation.SourceImageSequence
        frame = image.get("ReferencedFrameNumber")
        found.append((image.ReferencedSOPInstanceUID, frame and int(frame)))
        assert code_of(derivation.DerivationCodeSequence[0]) == terms.VISUAL_EXPLANATION
    expected = [source.instance_of(number) for number in (1, 2, 4)]
    assert found == [(instance.SOPInstanceUID, frame) for instance, frame in expected]


def test_it_says_what_it_shows_of_what_and_by_which_method(source: SourceVolume) -> None:
    dataset = built(source)
    [mapping] = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    quantity, method = mapping.QuantityDefinitionSequence
    assert code_of(quantity.ConceptCodeSequence[0]) == terms.SALIENCY
    assert method.TextValue == "saliency"
    assert mapping.LUTExplanation == "why Pneumonia"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert dataset.ContentDescription == "Not for diagnostic use"
    assert dataset.SeriesDescription == "wetread phantom_ct explanation"


def test_the_window_goes_from_zero_or_is_even_about_it(source: SourceVolume) -> None:
    def window(low: float, high: float) -> tuple[float, float]:
        values = np.linspace(low, high, SHAPE[1] * SHAPE[2], dtype=np.float32)
        maps = {0: values.reshape(SHAPE[1:])}
        dataset = build_parametric_map(maps, source, result_context(), MODEL, WORDS)
        [item] = dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
        return float(item.WindowCenter), float(item.WindowWidth)

    assert window(0.0, 3.0) == (1.5, 3.0)
    assert window(-1.0, 3.0) == (0.0, 6.0)
    assert window(0.0, 0.0) == (0.5, 1.0)


def test_the_part_of_the_body_is_the_sources_or_all_of_it(source: SourceVolume) -> None:
    [item] = built(source).SharedFunctionalGroupsSequence[0].FrameAnatomySequence
    named = source.instances[0].get("BodyPartExamined") == "HEAD"
    expected = terms.HEAD if named else terms.ENTIRE_BODY
    assert code_of(item.AnatomicRegionSequence[0]) == expected


def test_the_same_job_writes_the_same_bytes(source: SourceVolume) -> None:
    assert file_bytes(built(source)) == file_bytes(built(source))


def test_a_newer_map_says_what_it_replaces(source: SourceVolume, tmp_path: Path) -> None:
    study = str(source.instances[0].StudyInstanceUID)
    earlier = PredecessorReference(study, "1.2.5.3", "1.2.840.10008.5.1.4.1.1.30", "1.2.5.4")
    context = result_context(predecessors={"PM": earlier})
    maps = {0: function_of_place(source, 0)}
    dataset = build_parametric_map(maps, source, context, MODEL, WORDS)
    assert dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.5.4"
    assert complaints(dataset, tmp_path) == []


def test_a_radiograph_has_no_map_for_it_has_no_frame_of_reference(source: SourceVolume) -> None:
    header = copy.deepcopy(source.instances[0])
    header.SOPClassUID, header.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "DX"
    radiograph = replace(source, instances=(header,), frame_numbers=())
    with pytest.raises(EncodingError, match="Parametric Map of a DX image"):
        built(radiograph, (0,))


@pytest.mark.parametrize(("number", "shape"), [(6, (21, 18)), (-1, (21, 18)), (0, (18, 21))])
def test_a_map_that_is_not_on_the_grid_is_an_encoding_error(
    source: SourceVolume, number: int, shape: tuple[int, int]
) -> None:
    maps = {number: np.zeros(shape, np.float32)}
    with pytest.raises(EncodingError, match="a map of shape"):
        build_parametric_map(maps, source, result_context(), MODEL, WORDS)


def test_the_file_is_read_by_pydicom(source: SourceVolume) -> None:
    dataset = dcmread(BytesIO(file_bytes(built(source))))
    assert dataset.pixel_array.dtype == np.float32
    assert np.array_equal(dataset.pixel_array[0], function_of_place(source, 1))

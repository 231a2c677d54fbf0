"""Explaining what lies on disk: pictures for people, objects for the PACS, maps for research."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from explainable import write_explainable_classifier, write_explainable_segmenter
from phantom import PhantomSeries, write_series
from radiograph import write_radiograph
from readings import complaints
from tiny_model import TinyModel
from wetread.config import EmbeddedModel
from wetread.errors import ConfigError, StorageError, UnsupportedSeriesError
from wetread.infer.bundle import BundleModel, open_model
from wetread.offline.explaining import Wish, explain_path

pytestmark = pytest.mark.timeout(60)
SC, PM = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.30"
SHAPE = (12, 30, 26)


def opened(tiny: TinyModel) -> closing[BundleModel]:
    config = EmbeddedModel(bundle=tiny.bundle)
    return closing(open_model(tiny.bundle.name, config, tiny.repository))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleModel]:
    with opened(write_explainable_segmenter(tmp_path_factory.mktemp("segmenter"))) as model:
        yield model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleModel]:
    with opened(write_explainable_classifier(tmp_path_factory.mktemp("classifier"))) as model:
        yield model


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def study(folder: Path, **options: object) -> PhantomSeries:
    options = {"shape": SHAPE, "slice_spacing_mm": 8.0, "row_spacing_mm": 6.0} | options
    return write_series(folder / "study", **options)


@pytest.mark.parametrize("is_enhanced", [False, True], ids=["classic", "enhanced"])
def test_dicom_gives_a_picture_a_capture_and_a_map(
    segmenter: BundleModel, tmp_path: Path, is_enhanced: bool
) -> None:
    series = study(tmp_path, enhanced=is_enhanced, shuffled=True)
    [found] = explain_path(tmp_path / "study", segmenter, Wish("saliency"), tmp_path / "out")
    picture, capture, parametric = found.files
    assert picture.suffix == ".png"
    for path, uid in ((capture, SC), (parametric, PM)):
        dataset = dcmread(path)
        assert dataset.SOPClassUID == uid
        assert dataset.StudyInstanceUID == series.study_instance_uid
        assert complaints(path.read_bytes(), tmp_path) == []
    pixels = pixels_of(picture)
    assert np.array_equal(dcmread(capture).pixel_array, pixels)


def test_the_parametric_map_lies_on_the_ellipsoid(segmenter: BundleModel, tmp_path: Path) -> None:
    """Every voxel with a value is, at its LPS mm, in the ellipsoid; oblique slices."""
    series = study(tmp_path, oblique_degrees=20)
    [found] = explain_path(tmp_path / "study", segmenter, Wish("saliency"), tmp_path / "out")
    image = highdicom.imread(found.files[2])
    volume = image.get_volume()
    index = np.argwhere(np.abs(np.asarray(volume.array)) > 0)
    points = index @ np.asarray(volume.affine)[:3, :3].T + np.asarray(volume.affine)[:3, 3]
    assert len(index) > 50
    assert series.mask_at(points).mean() > 0.98


def test_a_radiograph_gives_a_picture_and_a_capture_but_no_map(
    classifier: BundleModel, tmp_path: Path
) -> None:
    write_radiograph(tmp_path / "study/1.dcm")
    wish = Wish("gradcam", "below")
    [found] = explain_path(tmp_path / "study", classifier, wish, tmp_path / "out")
    assert [path.suffix for path in found.files] == [".png", ".dcm"]
    capture = dcmread(found.files[1])
    assert capture.SOPClassUID == SC
    assert capture.DerivationDescription.startswith("Why below ")
    assert complaints(found.files[1].read_bytes(), tmp_path) == []


def test_nifti_gives_a_picture_and_the_map_on_the_grid_of_the_file(
    segmenter: BundleModel, tmp_path: Path
) -> None:
    series = study(tmp_path, orientation="coronal")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.affine
    nibabel.save(nibabel.Nifti1Image(series.values(), affine), tmp_path / "head.nii.gz")
    [found] = explain_path(tmp_path / "head.nii.gz", segmenter, Wish("saliency"), tmp_path / "out")
    assert [path.name for path in found.files] == [
        "head_tiny_ellipsoid_saliency.png",
        "head_tiny_ellipsoid_saliency.nii.gz",
    ]
    written = nibabel.load(found.files[1])
    assert np.allclose(written.affine, affine, atol=1e-4)
    values = np.asarray(written.dataobj)
    assert np.array_equal(values != 0, series.mask().astype(bool))


def test_a_picture_gives_a_picture(classifier: BundleModel, tmp_path: Path) -> None:
    pixels = np.full((64, 64), 128, np.uint8)
    pixels[10:30, 30:50], pixels[0, 0] = 255, 0
    Image.fromarray(pixels).save(tmp_path / "chest.png")
    wish = Wish("gradcam++")
    [found] = explain_path(tmp_path / "chest.png", classifier, wish, tmp_path / "out")
    assert [path.name for path in found.files] == ["chest_tiny_classifier_gradcampp.png"]
    assert found.as_dict()["target"] == "below"
    assert found.as_dict()["files"] == [str(path) for path in found.files]


def test_feature_maps_are_pictures_of_each_layer(segmenter: BundleModel, tmp_path: Path) -> None:
    study(tmp_path)
    wish = Wish("feature_maps")
    [found] = explain_path(tmp_path / "study", segmenter, wish, tmp_path / "out")
    [picture] = found.files
    assert picture.name.endswith("_feature_maps_network.sides.png")


def test_measured_figures_are_told_and_stand_in_the_picture(
    classifier: BundleModel, tmp_path: Path
) -> None:
    write_radiograph(tmp_path / "study/1.dcm")
    plain, measured = (
        explain_path(
            tmp_path / "study", classifier, Wish("saliency", "below", None, each), tmp_path / name
        )[0]
        for name, each in (("plain", False), ("measured", True))
    )
    assert plain.figures["faithfulness"] is None
    assert measured.figures["faithfulness"]["deletion_gain"] > 0
    assert set(measured.figures["randomisation"]) == {"correlation", "correlations"}
    pictures = [pixels_of(each.files[0]) for each in (plain, measured)]
    assert pictures[0].shape != pictures[1].shape or (pictures[0] != pictures[1]).any()


def test_another_method_gives_other_uids(segmenter: BundleModel, tmp_path: Path) -> None:
    study(tmp_path)
    uids = set()
    for method in ("saliency", "integrated_gradients"):
        [found] = explain_path(tmp_path / "study", segmenter, Wish(method), tmp_path / "out")
        uids |= {dcmread(path).SOPInstanceUID for path in found.files[1:]}
    assert len(uids) == 4


@pytest.mark.parametrize(
    ("method", "quantity"),
    [("gradcam", "Gradient-weighted class activation"), ("occlusion", "Saliency")],
)
def test_the_map_says_what_it_shows(
    segmenter: BundleModel, tmp_path: Path, method: str, quantity: str
) -> None:
    study(tmp_path)
    [found] = explain_path(tmp_path / "study", segmenter, Wish(method), tmp_path / "out")
    shared = dcmread(found.files[2]).SharedFunctionalGroupsSequence[0]
    definition = shared.RealWorldValueMappingSequence[0].QuantityDefinitionSequence
    assert definition[0].ConceptCodeSequence[0].CodeMeaning == quantity
    assert definition[1].TextValue == method


def test_an_unknown_method_is_told_before_anything_is_read(
    segmenter: BundleModel, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no method 'gradcam3'") as caught:
        explain_path(tmp_path / "no study", segmenter, Wish("gradcam3"), tmp_path / "out")
    assert "feature_maps" in caught.value.hint


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    segmenter: BundleModel, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is no folder that may be written"):
        explain_path(tmp_path / "no study", segmenter, Wish("lime"), tmp_path / "file" / "out")


def test_no_series_for_the_model_gives_each_reason(segmenter: BundleModel, tmp_path: Path) -> None:
    study(tmp_path, modality="MR")
    with pytest.raises(UnsupportedSeriesError, match=r"tiny_ellipsoid wants CT .* got MR"):
        explain_path(tmp_path / "study", segmenter, Wish("saliency"), tmp_path / "out")

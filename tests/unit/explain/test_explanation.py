"""What a bundle says of a volume, explained on the volume's own millimetres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from explainable import write_explainable_classifier, write_explainable_segmenter
from phantom import PhantomSeries, received, write_series
from tiny_model import TinyModel
from wetread.config import EmbeddedModel
from wetread.dicom.drawing import Captions
from wetread.dicom.heat_map import backdrop_of
from wetread.dicom.volume import load_volume
from wetread.errors import ConfigError, InputError, ModelContractError
from wetread.explain.explanation import Explanation, ask, explain
from wetread.explain.overlay import draw_explanation, draw_feature_maps, png_bytes
from wetread.infer.bundle import BundleModel, open_model

CAPTIONS = Captions("tiny 1.0", "NOT FOR DIAGNOSTIC USE", "wetread")


def opened(tiny: TinyModel) -> closing[BundleModel]:
    config = EmbeddedModel(bundle=tiny.bundle)
    return closing(open_model(tiny.bundle.name, config, tiny.repository))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleModel]:
    with opened(write_explainable_classifier(tmp_path_factory.mktemp("classifier"))) as model:
        yield model


@pytest.fixture(scope="module", params=["as it is", "resampled", "in windows"])
def segmenter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BundleModel]:
    folder = tmp_path_factory.mktemp("segmenter")
    options = {
        "as it is": {},
        "resampled": {"spacing_mm": 4.0},
        "in windows": {"spacing_mm": 4.0, "roi": 24},
    }
    with opened(write_explainable_segmenter(folder, **options[request.param])) as model:
        yield model


def whole(explanation: Explanation, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.zeros(shape, np.float32)
    for place, each in explanation.maps.items():
        values[place] = each
    return values


def picture(*slices: NDArray[np.float32]) -> highdicom.Volume:
    return highdicom.Volume(np.stack(slices), np.eye(4), "PATIENT")


def boxed(rows: slice, columns: slice, grey: float = 0.5) -> NDArray[np.float32]:
    """60 rows of 80: grey with a bright box, and the two corners that fix 0 and 1."""
    values = np.full((60, 80), grey, np.float32)
    values[rows, columns] = 1.0
    values[0, 0] = 0.0
    return values


@pytest.mark.timeout(60)
@pytest.mark.parametrize("orientation", ["axial", "sagittal", "coronal"])
def test_a_segment_is_explained_where_it_is_in_the_patient(
    segmenter: BundleModel, tmp_path: Path, orientation: str
) -> None:
    """The middle of the map, in LPS mm, is the middle of the ellipsoid, to half a voxel."""
    series = write_series(
        tmp_path, orientation=orientation, oblique_degrees=0, shape=(24, 40, 36), shuffled=True
    )
    source = load_volume(received(series))
    answer = ask(segmenter, source.volume)
    found = explain(segmenter, answer, "saliency")
    values = np.abs(whole(found, source.shape))
    middle = (series.points() * values[..., None]).sum(axis=(0, 1, 2)) / values.sum()
    assert np.abs(middle - series.ellipsoid_centre).max() < 2.5
    inside = series.mask().astype(bool)
    assert values[inside].sum() > 0.7 * values.sum()
    assert found.label == "Ellipsoid"
    assert found.probability > 0.9


@pytest.mark.timeout(60)
def test_the_mask_of_a_segment_lies_in_the_same_slices(
    segmenter: BundleModel, tmp_path: Path
) -> None:
    series = write_series(tmp_path, shape=(24, 40, 36))
    source = load_volume(received(series))
    found = explain(segmenter, ask(segmenter, source.volume, "ellipsoid"), "saliency")
    assert found.masks is not None
    assert set(found.masks) == set(found.maps)
    mask = np.zeros(source.shape, bool)
    for place, each in found.masks.items():
        mask[place] = each
    truth = series.mask().astype(bool)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85


@pytest.mark.timeout(60)
def test_a_picture_of_a_segment_shows_slices_with_words(
    segmenter: BundleModel, tmp_path: Path
) -> None:
    series: PhantomSeries = write_series(tmp_path, shape=(24, 40, 36))
    source = load_volume(received(series))
    found = explain(segmenter, ask(segmenter, source.volume), "saliency")
    pixels = draw_explanation(found, backdrop_of(source), CAPTIONS)
    assert pixels.dtype == np.uint8
    assert np.ptp(pixels.astype(int), axis=-1).max() > 100
    assert png_bytes(pixels).startswith(b"\x89PNG")


@pytest.mark.parametrize("method", ["gradcam", "saliency", "lime", "occlusion", "shap"])
def test_a_class_is_explained_on_the_pixels_of_the_source(
    classifier: BundleModel, method: str
) -> None:
    """The picture was padded to a square and resized; the map is on its own rows and columns."""
    volume = picture(boxed(slice(10, 30), slice(50, 70)))
    found = explain(classifier, ask(classifier, volume, "below"), method)
    assert found.maps[0].shape == (60, 80)
    top = np.argwhere(found.maps[0] > 0.7 * found.maps[0].max()).mean(axis=0)
    assert np.abs(top - (19.5, 59.5)).max() < 5
    assert found.masks is None


def test_without_a_target_the_likeliest_class_is_explained(classifier: BundleModel) -> None:
    answer = ask(classifier, picture(boxed(slice(10, 30), slice(30, 50))[:, :60]))
    assert answer.label == "below"
    assert answer.probability == pytest.approx(1.0, abs=0.01)
    found = explain(classifier, answer, "gradcam")
    assert found.statement == "Why below 100%, by gradcam"


def test_of_many_slices_the_three_most_certain_are_explained(classifier: BundleModel) -> None:
    sides = (2, 30, 4, 24, 20)
    slices = [boxed(slice(10, 10 + side), slice(30, 30 + side)) for side in sides]
    found = explain(classifier, ask(classifier, picture(*slices), "below"), "gradcam")
    assert set(found.maps) == {1, 3, 4}
    assert found.as_dict()["slices"] == [1, 3, 4]


@pytest.mark.timeout(60)
def test_measured_it_says_how_far_it_is_to_be_trusted(classifier: BundleModel) -> None:
    volume = picture(boxed(slice(10, 30), slice(50, 70)))
    answer = ask(classifier, volume, "below")
    found = explain(classifier, answer, "saliency", is_measured=True)
    assert found.faithfulness is not None
    assert found.faithfulness.deletion_gain > 0.05
    assert found.randomisation is not None
    assert found.as_dict()["randomisation"]["correlation"] == found.randomisation.correlation
    assert explain(classifier, answer, "saliency").faithfulness is None


def test_progress_names_what_is_done(classifier: BundleModel) -> None:
    told: list[tuple[str, float]] = []
    answer = ask(classifier, picture(boxed(slice(10, 30), slice(50, 70))), "below")
    explain(classifier, answer, "saliency", progress=lambda *step: told.append(step))
    assert told == [("explain", 0.0), ("explain", 1.0)]


def test_a_class_that_is_not_there_names_those_that_are(classifier: BundleModel) -> None:
    with pytest.raises(ConfigError, match="no class or segment 'lung'") as caught:
        ask(classifier, picture(boxed(slice(10, 30), slice(50, 70))), "lung")
    assert caught.value.hint == "known: above, below"


@pytest.mark.timeout(60)
def test_where_nothing_is_found_there_is_nothing_to_explain(segmenter: BundleModel) -> None:
    empty = highdicom.Volume(np.zeros((24, 24, 24), np.float32), np.diag([4, 4, 4, 1]), "PATIENT")
    with pytest.raises(InputError, match="finds nothing in it"):
        ask(segmenter, empty)


def test_feature_maps_are_drawn_at_most_sixty_four() -> None:
    random = np.random.default_rng(0)
    many = draw_feature_maps("conv", random.random((100, 8, 8), np.float32), CAPTIONS)
    few = draw_feature_maps("conv", random.random((4, 8, 8), np.float32), CAPTIONS)
    assert many.shape[0] > 8 * 112
    assert few.shape[0] < 4 * 112


def test_of_a_volume_the_most_active_slice_is_drawn() -> None:
    values = np.zeros((1, 6, 8, 8), np.float32)
    values[0, 4, 2:6, 2:6] = 1.0
    found = draw_feature_maps("conv", values, CAPTIONS)
    flat = draw_feature_maps("conv", values[:, 4], CAPTIONS)
    assert np.array_equal(found, flat)


def test_a_map_needs_the_weights_of_the_network(classifier: BundleModel, tmp_path: Path) -> None:
    """A bundle whose network would start at random is not explained by chance."""
    from tiny_classifier import write_tiny_classifier

    with opened(write_tiny_classifier(tmp_path)) as model, pytest.raises(ConfigError) as caught:
        ask(model, picture(boxed(slice(10, 30), slice(50, 70))))
    assert "random" in caught.value.message
    assert not isinstance(caught.value, ModelContractError)

"""The classifiers: ONNX against torch, and a series through the gateway's path to SR and SC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import dcmread

from conftest import ROOT
from phantom import received, write_series
from radiograph import write_radiograph
from readings import complaints, result_context
from report_content import content_items
from wetread.config import EmbeddedModel
from wetread.dicom import terms
from wetread.dicom.attributes import read_study
from wetread.dicom.files import find_instances
from wetread.errors import UnsupportedSeriesError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.description import load_networks
from wetread.infer.embedded import EmbeddedPredictor
from wetread.models.export import build_models
from wetread.models.original import is_trained, load_original
from wetread.models.recipe import RECIPE
from wetread.reading import read_series_with
from wetread.results import FindingsResult
from wetread.study import Series

REPOSITORY = ROOT / ".cache" / "triton_models"
TRAINED = sorted(
    path.parents[1]
    for path in (ROOT / "bundles").glob(f"*/{RECIPE}")
    if is_trained(path.parents[1])
)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", params=TRAINED, ids=lambda path: path.name)
def model(request: pytest.FixtureRequest) -> Iterator[BundleModel]:
    build_models(request.param, REPOSITORY, no_progress)
    config = EmbeddedModel(bundle=request.param)
    with closing(open_model(request.param.name, config, REPOSITORY)) as opened:
        yield opened


@pytest.fixture
def series(model: BundleModel, tmp_path: Path) -> Series:
    """One that the model reads: a radiograph, or a CT of seven slices."""
    if "DX" in model.description.accepts.modality:
        write_radiograph(tmp_path / "images/1.dcm")
        [found] = read_study(find_instances(tmp_path / "images")).series
        return found
    return received(write_series(tmp_path / "images", shape=(7, 41, 38)))


def test_onnx_agrees_with_torch(model: BundleModel) -> None:
    """Logits of ten images of noise: the same class, at most 0.001 apart."""
    [spec] = load_networks(model.bundle).values()
    size = spec.input.shape[-1]
    random = np.random.default_rng(5)
    images = np.clip(random.normal(0.5, 0.25, (10, 1, size, size)), 0, 1).astype(np.float32)
    with torch.inference_mode():
        wanted = load_original(model.bundle, spec).module(torch.from_numpy(images)).numpy()
    with closing(EmbeddedPredictor(spec.name, REPOSITORY)) as predictor:
        found = np.concatenate([predictor.predict(image[None]) for image in images])
    assert np.abs(found - wanted).max() < 1e-3
    assert (found.argmax(1) == wanted.argmax(1)).all()


def test_a_series_becomes_a_report_and_a_heat_map(
    model: BundleModel, series: Series, tmp_path: Path
) -> None:
    reading = read_series_with(model, series, result_context())
    for each in reading.objects:
        assert complaints(each.file_bytes(), tmp_path) == []
    result = reading.result
    assert isinstance(result, FindingsResult)
    is_anything = any(each.is_present for each in result.findings)
    maps = ["SC"] if reading.source.is_projection else ["SC", "PM"]
    assert [each.kind for each in reading.objects] == ["SR", *(maps if is_anything else [])]
    report = dcmread(BytesIO(reading.objects[0].file_bytes()))
    said = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in content_items(report, terms.PROBABILITY)
    ]
    wanted = [100 * each.probability for each in result.findings]
    assert said == pytest.approx(wanted, abs=0.01)
    assert len(said) == sum(each.finding is not None for each in model.description.classes)


def test_the_same_series_gives_the_same_bytes(model: BundleModel, series: Series) -> None:
    one, other = (read_series_with(model, series, result_context()) for _ in range(2))
    assert [each.file_bytes() for each in one.objects] == [
        each.file_bytes() for each in other.objects
    ]


def test_another_modality_is_refused(model: BundleModel, tmp_path: Path) -> None:
    series = received(write_series(tmp_path, modality="MR"))
    with pytest.raises(UnsupportedSeriesError, match="got MR with"):
        read_series_with(model, series, result_context())

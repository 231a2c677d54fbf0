"""A model with a gate: what the reading says of an image like, and unlike, those it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phantom import received, write_series
from readings import result_context
from report_content import comments
from tiny_model import NETWORK, TinyModel, write_tiny_model
from wetread.config import EmbeddedModel
from wetread.dicom.volume import load_volume
from wetread.infer.bundle import open_model
from wetread.infer.gate import describe, fit_gate, save_gate
from wetread.reading import Reading, read_series_with
from wetread.study import Series


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return received(write_series(tmp_path_factory.mktemp("ct"), shape=(14, 31, 27)))


@pytest.fixture
def gated(tmp_path: Path, series: Series) -> TinyModel:
    """The tiny bundle with a gate made of the phantom, a little darker or brighter."""
    tiny = write_tiny_model(tmp_path)
    image = np.asarray(load_volume(series).volume.array, np.float32)[None]
    random = np.random.default_rng(0)
    known = [describe(image * random.normal(1, 0.05), 3) for _ in range(80)]
    save_gate(fit_gate(known[:50], known[50:], 3), tiny.bundle)
    return tiny


def read(tiny: TinyModel, series: Series) -> Reading:
    model = open_model(NETWORK, EmbeddedModel(bundle=tiny.bundle), tiny.repository)
    return read_series_with(model, series, result_context())


def test_an_unlike_image_is_said_to_be_one(gated: TinyModel, tmp_path: Path) -> None:
    """In the outcome and in the report, but it is read all the same."""
    other = received(write_series(tmp_path / "other", shape=(9, 40, 40)))
    reading = read(gated, other)
    assert reading.result.input_check is not None
    text = reading.result.input_check.text
    assert text.startswith("Unlike what this model was trained on: distance ")
    assert reading.outcome.endswith(f" mL; {text}")
    (report,) = [each.dataset for each in reading.objects if each.kind == "SR"]
    assert text in comments(report)


def test_of_an_image_that_is_like_only_the_report_speaks(gated: TinyModel, series: Series) -> None:
    image_like = read(gated, series)
    check = image_like.result.input_check
    assert check is not None
    assert check.is_like_training
    assert "trained" not in image_like.outcome
    (report,) = [each.dataset for each in image_like.objects if each.kind == "SR"]
    assert check.text in comments(report)


def test_without_a_gate_nothing_is_said(tmp_path: Path, series: Series) -> None:
    reading = read(write_tiny_model(tmp_path), series)
    assert reading.result.input_check is None
    assert "trained" not in reading.outcome

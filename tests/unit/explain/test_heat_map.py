"""The heat map of a classification lies where the answer is, on the pixels of the source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import highdicom
import numpy as np
import pytest
import torch

from tiny_classifier import NAME, recipe, write_tiny_classifier
from wetread.bundle_components.classifiers import classifier
from wetread.config import EmbeddedModel
from wetread.explain.heat_map import heat_map_of
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.results import FindingsResult

ROWS, COLUMNS = 96, 64


def spot(row: int, column: int) -> np.ndarray:
    rows, columns = np.indices((ROWS, COLUMNS))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 60).astype(np.float32)


def volume(*slices: np.ndarray) -> highdicom.Volume:
    return highdicom.Volume(np.stack(slices), np.eye(4), "PATIENT")


@pytest.fixture
def model(tmp_path: Path) -> Iterator[BundleModel]:
    """Its torch network is a small CNN whose class 1 grows with all that its layers see."""
    tiny = write_tiny_classifier(tmp_path)
    network = classifier("small_cnn", 2, recipe()["train"]["image_size"])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.01 if parameter.ndim > 1 else 0.0)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
        head = network.get_submodule("head.1")
        head.weight.mul_(torch.tensor([[0.0], [1.0]]))
    torch.save(network.state_dict(), tiny.bundle / "models/model.pt")
    calibration = {"temperature": 1.0, "operating_points": {"above": 0.5, "below": 0.52}}
    path = tiny.bundle / "models/calibration.json"
    path.write_text(json.dumps(calibration), encoding="utf-8")
    with closing(open_model(NAME, EmbeddedModel(bundle=tiny.bundle), tiny.repository)) as opened:
        yield opened


def read(model: BundleModel, source: highdicom.Volume) -> FindingsResult:
    found = model.read(source, no_progress)
    assert isinstance(found, FindingsResult)
    return found


@pytest.mark.timeout(60)
def test_the_map_is_warm_at_the_spot(model: BundleModel) -> None:
    source = volume(spot(80, 4))
    found = heat_map_of(model, source, read(model, source))
    assert found is not None
    assert found.values.shape == (ROWS, COLUMNS)
    assert (found.values.min(), found.values.max()) == (pytest.approx(0, abs=0.3), 1.0)
    quarters = found.values.reshape(2, ROWS // 2, 2, COLUMNS // 2).mean(axis=(1, 3))
    assert quarters.argmax() == 2, "the spot lies below on the left"
    assert quarters[1, 0] > quarters[0, 1] + 0.2
    assert (found.finding.meaning, found.method) == ("Pneumonia", "Grad-CAM")


def test_what_is_absent_has_no_map(model: BundleModel) -> None:
    source = volume(spot(20, 20))
    result = read(model, source)
    assert not result.findings[0].is_present
    assert heat_map_of(model, source, result) is None


def test_a_bundle_without_weights_of_its_own_has_no_map(tmp_path: Path) -> None:
    tiny = write_tiny_classifier(tmp_path)
    with closing(open_model(NAME, EmbeddedModel(bundle=tiny.bundle), tiny.repository)) as model:
        source = volume(spot(80, 4))
        assert heat_map_of(model, source, read(model, source)) is None


def test_a_reading_under_way_gets_no_map_of_other_weights(model: BundleModel) -> None:
    """Another version was promoted before the first map was asked for; later readings have one."""
    source = volume(spot(80, 4))
    result = read(model, source)
    path = model.bundle / "configs/metadata.json"
    former = path.read_text(encoding="utf-8")
    changed = {**json.loads(former), "version": "9.9.9"}
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert heat_map_of(model, source, result) is None
    path.write_text(former, encoding="utf-8")
    assert heat_map_of(model, source, result) is not None

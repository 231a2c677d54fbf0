"""Figures fall as images get worse, and stand for the changed images and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from conftest import ROOT
from decathlon import name_of, write_decathlon
from tiny_model import TinyModel, write_tiny_model
from wetread.errors import ConfigError
from wetread.infer.base import no_progress
from wetread.infer.files import volume_from_nifti
from wetread.infer.gate import describe, fit_gate, save_gate
from wetread.models.export import build_models
from wetread.models.perturb import PERTURBATIONS
from wetread.models.stress import Stress, StressedModel, open_stressed, stress_model
from wetread.results import SegmentationResult

HIPPOCAMPUS = ROOT / "bundles" / "hippocampus_mr_segmentation"
REPOSITORY = ROOT / ".cache" / "triton_models"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three cases of a block of 120 in 0, which the tiny model finds exactly."""
    folder = write_decathlon(tmp_path / "data", 3)
    image = np.zeros((16, 16, 12), np.float32)
    image[4:12, 4:12, 4:9] = 120.0
    for number in range(3):
        for place, array in (("imagesTr", image), ("labelsTr", (image > 0).astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / place / name_of(number))
    return folder


@pytest.fixture
def tiny(tiny_ct: TinyModel) -> Iterator[StressedModel]:
    model = open_stressed(tiny_ct.bundle, tiny_ct.repository)
    yield model
    model.close()


def dice(found: Stress, kind: str) -> list[float]:
    points = [point for point in found.points if point.kind == kind]
    assert [point.severity for point in points] == [1, 2, 3, 4, 5]
    return [point.figures["mean_dice"] for point in points]


def test_each_kind_in_each_severity_is_measured(tiny: StressedModel, data: Path) -> None:
    found = stress_model(tiny, data, no_progress, kinds=("noise", "jpeg"))
    assert found.count == 3
    assert found.clean.figures == {"mean_dice": 1.0}
    assert len(found.points) == 10
    assert {point.flagged for point in found.points} == {None}
    noise = dice(found, "noise")
    assert 0.9 < noise[0] <= 1.0
    assert noise[-1] < 0.5
    assert noise == sorted(noise, reverse=True)
    levels = [point.level for point in found.points if point.kind == "noise"]
    assert tuple(levels) == PERTURBATIONS["noise"].levels
    json.dumps(found.as_dict())


def test_it_is_always_the_same(tiny: StressedModel, data: Path) -> None:
    first, again = (stress_model(tiny, data, no_progress, kinds=["motion"]) for _ in range(2))
    assert first == again


def test_the_gate_says_which_images_it_would_flag(tmp_path: Path, data: Path) -> None:
    written = write_tiny_model(tmp_path)
    image = np.zeros((1, 16, 16, 12), np.float32)
    image[0, 4:12, 4:12, 4:9] = 120.0
    random = np.random.default_rng(0)
    known = [describe(image * random.normal(1, 0.05), 3) for _ in range(60)]
    save_gate(fit_gate(known[:30], known[30:], 3), written.bundle)
    model = open_stressed(written.bundle, written.repository)
    found = stress_model(model, data, no_progress, kinds=["noise"])
    model.close()
    assert found.clean.flagged == 0.0
    assert found.points[-1].flagged == 1.0


def test_many_cases_are_thinned_out(tiny: StressedModel, data: Path) -> None:
    assert stress_model(tiny, data, no_progress, kinds=["jpeg"], most_cases=2).count == 2


def test_an_unknown_kind_is_refused(tiny: StressedModel, data: Path) -> None:
    with pytest.raises(ConfigError, match="no kind 'fog'") as caught:
        stress_model(tiny, data, no_progress, kinds=["fog"])
    assert "pgd" in caught.value.hint


@pytest.mark.timeout(120)
def test_an_attack_reaches_the_network_that_is_served(tmp_path: Path) -> None:
    """In torch it is made, in OpenVINO it misleads; the pre- and post-processing are as ever."""
    build_models(HIPPOCAMPUS, REPOSITORY, no_progress)
    model = open_stressed(HIPPOCAMPUS, REPOSITORY)
    folder = write_decathlon(tmp_path / "data", 1)
    volume = volume_from_nifti(folder / "imagesTr" / name_of(0))
    labelmaps = []
    for severity in (0, 5):
        model.expose("fgsm", severity)
        result = model.read(volume, no_progress)
        assert isinstance(result, SegmentationResult)
        labelmaps.append(result.labelmap)
    model.close()
    assert labelmaps[0].any()
    assert (labelmaps[0] != labelmaps[1]).sum() > 0.1 * (labelmaps[0] > 0).sum()

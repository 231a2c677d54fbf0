"""The hippocampus bundle: ONNX within the gateway's path against MONAI and torch alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from conftest import ROOT
from decathlon import write_decathlon
from phantom import received, write_series
from readings import complaints, result_context
from wetread.config import EmbeddedModel
from wetread.dicom.result_header import file_bytes
from wetread.errors import UnsupportedSeriesError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.files import volume_from_nifti
from wetread.models.export import build_models
from wetread.models.segmentation import cases_in, evaluate_segmentation
from wetread.reading import read_series_with

BUNDLE = ROOT / "bundles" / "hippocampus_mr_segmentation"
REPOSITORY = ROOT / ".cache" / "triton_models"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def model() -> Iterator[BundleModel]:
    build_models(BUNDLE, REPOSITORY, no_progress)
    opened = open_model(BUNDLE.name, EmbeddedModel(bundle=BUNDLE), REPOSITORY)
    yield opened
    opened.close()


def by_monai_alone(image: Path) -> NDArray[np.int64]:
    """The labelmap that the bundle's own inference.json gives with torch."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs/inference.json"))
    parser["bundle_root"] = str(BUNDLE)
    transforms = parser["postprocessing::transforms"]
    parser["postprocessing::transforms"] = [
        each for each in transforms if each["_target_"] != "SaveImaged"
    ]
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(BUNDLE / "models/model.pt", weights_only=True))
    data = parser.get_parsed_content("preprocessing")({"image": str(image)})
    with torch.inference_mode():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network.eval())[0]
    return np.rint(np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"][0]))


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SAR"])
def test_the_labels_are_those_of_torch_in_any_orientation(
    model: BundleModel, tmp_path: Path, axes: str
) -> None:
    """At least 99.9 % of the voxels that either labels."""
    case = write_decathlon(tmp_path / "data", 1) / "imagesTr" / "ball_000.nii.gz"
    turned = nibabel.orientations.axcodes2ornt(tuple(axes))
    nibabel.save(nibabel.load(case).as_reoriented(turned), tmp_path / "turned.nii.gz")
    found = model.read(volume_from_nifti(tmp_path / "turned.nii.gz"), no_progress).labelmap
    wanted = by_monai_alone(tmp_path / "turned.nii.gz")
    either = (found > 0) | (wanted > 0)
    assert either.sum() > 100
    assert (found == wanted)[either].mean() >= 0.999


def test_two_segments_go_to_the_pacs(model: BundleModel, tmp_path: Path) -> None:
    """A crop of 30 slices of 1 mm becomes a SEG, an SR and an SC that dciodvfy takes."""
    crop = write_series(
        tmp_path / "crop",
        modality="MR",
        shape=(30, 48, 40),
        row_spacing_mm=1.0,
        column_spacing_mm=1.0,
        slice_spacing_mm=1.0,
        centre=(0.0, 0.0, 0.0),
    )
    reading = read_series_with(model, received(crop), result_context())
    kinds = [each.kind for each in reading.objects]
    assert kinds[-2:] == ["SR", "SC"]
    for each in reading.objects:
        assert complaints(file_bytes(each.dataset), tmp_path) == []


def test_a_whole_head_is_refused(model: BundleModel, tmp_path: Path) -> None:
    head = write_series(tmp_path / "head", modality="MR", shape=(65, 16, 16), slice_spacing_mm=1.5)
    with pytest.raises(UnsupportedSeriesError, match="at most 64 instances, got 65"):
        read_series_with(model, received(head), result_context())


def test_a_folder_in_decathlon_form_is_evaluated(model: BundleModel, tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "data", 2)
    found = evaluate_segmentation(model, cases_in(folder, None), no_progress).as_dict()
    assert set(found["dice"]) == {"Anterior hippocampus", "Posterior hippocampus"}
    assert found["count"] == 2


def test_monai_alone_evaluates_by_the_overlay(tmp_path: Path) -> None:
    """evaluate.json over train.json: the weights that are here, every validation case, a file."""
    folder = write_decathlon(tmp_path / "data", 3, {"train": [0], "val": [1, 2]})
    parser = ConfigParser()
    configs = [str(BUNDLE / "configs" / name) for name in ("train.json", "evaluate.json")]
    parser.read_config(configs)
    parser["bundle_root"] = str(BUNDLE)
    parser["dataset_dir"] = str(folder)
    parser["output_dir"] = str(tmp_path / "eval")
    parser.get_parsed_content("run")
    rows = (tmp_path / "eval" / "metrics.csv").read_text(encoding="utf-8")
    assert "val_mean_dice" in rows

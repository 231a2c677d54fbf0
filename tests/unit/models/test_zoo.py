"""A bundle in the Model Zoo's shape knows nothing of DICOM, and is read once it has its words."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import BasicUNet
from pydicom.sr.coding import Code

from phantom import received, write_series
from readings import complaints, result_context
from wetread.config import EmbeddedModel
from wetread.errors import ConfigError
from wetread.infer.base import no_progress
from wetread.infer.bundle import open_model
from wetread.infer.description import load_description
from wetread.models.export import build_models
from wetread.models.zoo import adopt, parse_code
from wetread.reading import read_series_with

FEATURES = (4, 4, 4, 4, 4, 4)


def tensor(channels: dict[str, str], **changes: Any) -> dict[str, Any]:
    shape = {"spatial_shape": [32, 32, 32], "num_channels": len(channels)}
    return {"modality": "CT", **shape, "channel_def": channels, **changes}


def write_zoo_bundle(folder: Path, image: dict[str, Any] | None = None, **labels: str) -> Path:
    """As the Model Zoo has them: the keys by their names there, the weights in models/."""
    bundle = folder / "spleen_ct_segmentation"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    channels = {"0": "background", **(labels or {"1": "spleen"})}
    metadata = {
        "version": "0.5.3",
        "network_data_format": {
            "inputs": {"image": image or tensor({"0": "image"})},
            "outputs": {"pred": tensor(channels)},
        },
    }
    network = {
        "_target_": "BasicUNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": len(channels),
        "features": list(FEATURES),
    }
    for name, content in (("metadata", metadata), ("inference", inference(network))):
        path = bundle / "configs" / f"{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    torch.manual_seed(1)
    unet = BasicUNet(3, 1, len(channels), FEATURES)
    torch.save(unet.state_dict(), bundle / "models/model.pt")
    return bundle


def inference(network: dict[str, Any]) -> dict[str, Any]:
    return {
        "bundle_root": ".",
        "image_key": "image",
        "device": "$torch.device('cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {
                    "_target_": "Orientationd",
                    "keys": "@image_key",
                    "axcodes": "RAS",
                    "labels": None,
                },
                {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [2.0, 2.0, 2.0]},
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "@image_key",
                    "a_min": -57,
                    "a_max": 164,
                    "b_min": 0,
                    "b_max": 1,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "@image_key"},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "@image_key",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "eval"},
            ],
        },
    }


@pytest.mark.timeout(60)
def test_it_reads_a_series_and_gives_a_seg(tmp_path: Path) -> None:
    bundle = write_zoo_bundle(tmp_path)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert [path.name for path in adopt(bundle, {})] == ["dicom.json", "export.json"]
    assert {path: path.read_bytes() for path in before} == before
    build_models(bundle, tmp_path / "models", no_progress)
    series = received(write_series(tmp_path / "series", modality="CT"))
    with closing(open_model("spleen", EmbeddedModel(bundle=bundle), tmp_path / "models")) as model:
        reading = read_series_with(model, series, result_context())
    for each in reading.objects:
        assert complaints(each.file_bytes(), tmp_path) == []
    assert "SR" in {each.kind for each in reading.objects}


def test_a_label_gets_the_code_that_dicom_has_for_its_name(tmp_path: Path) -> None:
    bundle = write_zoo_bundle(tmp_path, None, **{"1": "spleen", "2": "liver"})
    adopt(bundle, {})
    spleen, liver = load_description(bundle).segments
    assert (spleen.type.value, spleen.label) == ("78961009", "Spleen")
    assert (liver.type.value, liver.label_value) == ("10200004", 2)
    assert spleen.cielab != liver.cielab


def test_a_label_that_dicom_does_not_know_is_asked_for(tmp_path: Path) -> None:
    bundle = write_zoo_bundle(tmp_path, None, **{"1": "wobble"})
    with pytest.raises(ConfigError, match="of the name 'wobble'") as caught:
        adopt(bundle, {})
    assert '--code "wobble=SCT:VALUE:MEANING"' in caught.value.hint
    assert not (bundle / "configs/dicom.json").exists()
    adopt(bundle, dict([parse_code("wobble=SCT:4147007:Mass")]))
    assert load_description(bundle).segments[0].type == Code("4147007", "SCT", "Mass")


def test_what_is_there_is_left(tmp_path: Path) -> None:
    bundle = write_zoo_bundle(tmp_path)
    adopt(bundle, {})
    assert adopt(bundle, {}) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (tensor({"0": "t1", "1": "t2"}), "reads 2 channels at once"),
        (tensor({"0": "image"}, modality="XA"), "reads XA, not CT or MR"),
        ({"modality": "CT"}, r"inputs\.image is not whole: KeyError\('num_channels'\)"),
    ],
)
def test_what_a_series_cannot_give_is_refused(
    tmp_path: Path, image: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        adopt(write_zoo_bundle(tmp_path, image), {})


@pytest.mark.parametrize("text", ["spleen", "spleen=SCT:1", "=SCT:1:Spleen", "spleen=SCT::Spleen"])
def test_a_code_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no code"):
        parse_code(text)

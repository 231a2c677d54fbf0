"""A bundle is trained by its own train.json; what was cut short goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import ROOT
from decathlon import write_decathlon
from wetread.errors import ConfigError, InputError
from wetread.models.train import Training, train_bundle

TRAINABLE = sorted(path.parents[1] for path in (ROOT / "bundles").glob("*/configs/train.json"))

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_decathlon(tmp_path / "data", 5, {"train": [0, 1, 2, 3], "val": [4]})


def train(bundle: Path, data: Path, output: Path, **options: Any) -> Training:
    return train_bundle(bundle, data, output, lambda *_: None, **options)


@pytest.mark.parametrize("bundle", TRAINABLE, ids=lambda path: path.name)
def test_every_bundle_trains_and_goes_on(bundle: Path, data: Path, tmp_path: Path) -> None:
    """One epoch leaves weights and a checkpoint; asked for two, only the second is trained."""
    told: list[tuple[int, float, float | None]] = []
    output = tmp_path / "models"
    first = train(bundle, data, output, epochs=1)
    assert (first.epochs, first.best_epoch, first.metric) == (1, 1, "val_mean_dice")
    assert [path.name for path in output.glob("checkpoint*")] == ["checkpoint_epoch=1.pt"]
    second = train_bundle(bundle, data, output, lambda *each: told.append(each), epochs=2)
    assert second.epochs == 2
    assert {epoch for epoch, _, _ in told} == {2}
    assert told[-1][1] == 1.0
    assert [path.name for path in output.glob("checkpoint*")] == ["checkpoint_epoch=2.pt"]
    assert list((output / "runs").glob("events*"))


@pytest.mark.parametrize("bundle", TRAINABLE, ids=lambda path: path.name)
def test_the_weights_fit_the_network_that_is_served(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    """train.json and inference.json define the same network, pre-processing aside."""
    configs = [
        json.loads((bundle / "configs" / name).read_text(encoding="utf-8"))
        for name in ("train.json", "inference.json")
    ]
    assert configs[0]["network_def"] == configs[1]["network_def"]
    assert configs[0]["roi_size"] == configs[1]["roi_size"]
    trained = train(bundle, data, tmp_path / "models", epochs=1)
    committed = torch.load(bundle / "models/model.pt", weights_only=True)
    new = torch.load(trained.weights, weights_only=True)
    shapes = [{key: value.shape for key, value in each.items()} for each in (committed, new)]
    assert shapes[0] == shapes[1]


def test_a_fresh_training_starts_again(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "models"
    train(TRAINABLE[0], data, output, epochs=1)
    again = train(TRAINABLE[0], data, output, epochs=1, fresh=True)
    assert (again.epochs, again.best_epoch) == (1, 1)


def test_the_same_seed_gives_the_same_score(data: Path, tmp_path: Path) -> None:
    scores = {
        train(TRAINABLE[0], data, tmp_path / str(number), epochs=1).best_score for number in (1, 2)
    }
    assert len(scores) == 1


def test_a_bundle_without_train_json_says_so(data: Path, tmp_path: Path) -> None:
    bundle = ROOT / "bundles" / "brain_mr_extraction"
    with pytest.raises(ConfigError, match=r"brain_mr_extraction has no configs/train\.json"):
        train(bundle, data, tmp_path)


def test_data_of_another_form_are_refused(tmp_path: Path) -> None:
    message = r"hippocampus.* cannot be trained on .*dataset\.json"
    with pytest.raises(InputError, match=message):
        train(TRAINABLE[0], tmp_path, tmp_path / "models", epochs=1)


def test_a_fault_in_train_json_is_named(data: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(TRAINABLE[0], tmp_path / "bundle")
    path = bundle / "configs/train.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["network_def"]["_target_"] = "NoSuchNetwork"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises((ConfigError, InputError), match="NoSuchNetwork"):
        train(bundle, data, tmp_path / "models", epochs=1)

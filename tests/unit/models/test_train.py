"""A bundle is trained by its own train.json; what was cut short goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from conftest import ROOT
from decathlon import write_decathlon
from labelled import write_labelled
from subjects import write_subjects
from wetread.bundle_components.classifiers import classifier
from wetread.errors import ConfigError, InputError
from wetread.models.train import Training, train_bundle
from wetread.models.training_record import read_training_record, write_training_record

TRAINABLE = sorted(path.parents[1] for path in (ROOT / "bundles").glob("*/configs/train.json"))

pytestmark = pytest.mark.timeout(120)

SPLITS = {"train": [0, 1], "val": [2]}
HIPPOCAMPUS = ROOT / "bundles" / "hippocampus_mr_segmentation"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("balls") / "data"
    return write_decathlon(folder, 3, SPLITS)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """What an epoch of the hippocampus bundle leaves."""
    output = tmp_path_factory.mktemp("once") / "models"
    train(HIPPOCAMPUS, data, output, epochs=1)
    return output


@pytest.fixture
def output(once: Path, tmp_path: Path) -> Path:
    """The same, to go on from."""
    return shutil.copytree(once, tmp_path / "models")


def data_for(bundle: Path, folder: Path) -> tuple[Path, str]:
    """Tiny data of the form that the bundle trains on, and the name of its key metric."""
    config = json.loads((bundle / "configs/train.json").read_text(encoding="utf-8"))
    if "modalities" in config:
        return write_subjects(folder, config["classes"], config["modalities"]), "val_auc"
    if "classes" in config:
        return write_labelled(folder, config["classes"]), "val_auc"
    return write_decathlon(folder, 3, SPLITS), "val_mean_dice"


def taught(bundle: Path, folder: Path) -> Path:
    """The bundle; one that learns from another is a copy, with random weights to learn from."""
    config = json.loads((bundle / "configs/train.json").read_text(encoding="utf-8"))
    if "teacher_weights" not in config:
        return bundle
    copy = shutil.copytree(bundle / "configs", folder / bundle.name / "configs").parent
    teacher = classifier(config["backbone"], len(config["classes"]), config["image_size"])
    config["teacher_weights"] = str(folder / "teacher.pt")
    torch.save(teacher.state_dict(), config["teacher_weights"])
    (copy / "configs/train.json").write_text(json.dumps(config), encoding="utf-8")
    return copy


def train(bundle: Path, data: Path, output: Path, **options: Any) -> Training:
    return train_bundle(bundle, data, output, lambda *_: None, **options)


@pytest.mark.parametrize("bundle", TRAINABLE, ids=lambda path: path.name)
def test_every_bundle_trains_and_goes_on(bundle: Path, tmp_path: Path) -> None:
    """One epoch leaves weights and a checkpoint; asked for two, only the second is trained.

    train.json and inference.json define the same network: the weights of one fit the other.
    """
    told: list[tuple[int, float, float | None]] = []
    output = tmp_path / "models"
    data, metric = data_for(bundle, tmp_path / "data")
    bundle = taught(bundle, tmp_path)
    first = train(bundle, data, output, epochs=1)
    assert (first.epochs, first.best_epoch, first.metric) == (1, 1, metric)
    assert [path.name for path in output.glob("checkpoint*")] == ["checkpoint_epoch=1.pt"]
    second = train_bundle(bundle, data, output, lambda *each: told.append(each), epochs=2)
    assert second.epochs == 2
    assert {epoch for epoch, _, _ in told} == {2}
    assert told[-1][1] == 1.0
    assert [path.name for path in output.glob("checkpoint*")] == ["checkpoint_epoch=2.pt"]
    assert list((output / "runs").glob("events*"))
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    served = parser.get_parsed_content("network_def")
    new = torch.load(second.weights, weights_only=True)
    served.load_state_dict(new)
    if (bundle / "models/model.pt").is_file():
        committed = torch.load(bundle / "models/model.pt", weights_only=True)
        shapes = [{key: value.shape for key, value in each.items()} for each in (committed, new)]
        assert shapes[0] == shapes[1]


def test_a_classifier_is_calibrated_when_training_ends(tmp_path: Path) -> None:
    bundle = ROOT / "bundles" / "chest_xray_classification"
    data, _ = data_for(bundle, tmp_path / "data")
    train(bundle, data, tmp_path / "models", epochs=1)
    found = json.loads((tmp_path / "models/calibration.json").read_text(encoding="utf-8"))
    assert set(found["operating_points"]) == {"no_finding", "pneumonia"}
    assert found["fitted_on"] == 6
    assert found["temperature"] > 0


def test_a_fresh_training_starts_again(data: Path, output: Path) -> None:
    before = read_training_record(output)
    assert before is not None
    write_training_record(output, replace(before, minutes=30.0))
    again = train(HIPPOCAMPUS, data, output, epochs=1, fresh=True)
    assert (again.epochs, again.best_epoch) == (1, 1)
    after = read_training_record(output)
    assert after is not None
    assert after.minutes < 2
    # The same seed gives the same.
    assert again.best_score == before.best_score


def test_a_bundle_without_train_json_says_so(data: Path, tmp_path: Path) -> None:
    bundle = ROOT / "bundles" / "brain_mr_extraction"
    with pytest.raises(ConfigError, match=r"brain_mr_extraction has no configs/train\.json"):
        train(bundle, data, tmp_path)


def test_data_of_another_form_are_refused(tmp_path: Path) -> None:
    message = r"hippocampus.* cannot be trained on .*dataset\.json"
    with pytest.raises(InputError, match=message):
        train(HIPPOCAMPUS, tmp_path, tmp_path / "models", epochs=1)


def test_a_fault_in_train_json_is_named(data: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(HIPPOCAMPUS, tmp_path / "bundle")
    path = bundle / "configs/train.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["network_def"]["_target_"] = "NoSuchNetwork"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises((ConfigError, InputError), match="NoSuchNetwork"):
        train(bundle, data, tmp_path / "models", epochs=1)


def test_training_says_what_it_took_and_adds_up_when_it_goes_on(data: Path, output: Path) -> None:
    first = read_training_record(output)
    assert first is not None
    assert (first.epochs, first.best_epoch, first.metric) == (1, 1, "val_mean_dice")
    assert 0 < first.minutes < 2
    # 2.61 million, as the bundle's page says.
    assert round(first.parameters / 1e6, 2) == 2.61
    write_training_record(output, replace(first, minutes=30.0))
    train(HIPPOCAMPUS, data, output, epochs=2)
    second = read_training_record(output)
    assert second is not None
    assert second.epochs == 2
    assert 30 < second.minutes < 32


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    assert read_training_record(tmp_path) is None
    (tmp_path / "training.json").write_text('{"minutes": 1}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"training\.json is no record of a training"):
        read_training_record(tmp_path)


def test_a_worse_epoch_after_going_on_does_not_replace_the_better_weights(
    data: Path, output: Path
) -> None:
    """The record says that an epoch before was better than any can be, so its weights stay."""
    record = json.loads((output / "training.json").read_text(encoding="utf-8"))
    (output / "training.json").write_text(json.dumps({**record, "best_score": 2.0}))
    best = (output / "model.pt").read_bytes()
    again = train(HIPPOCAMPUS, data, output, epochs=2)
    assert (again.epochs, again.best_epoch, again.best_score) == (2, 1, 2.0)
    assert (output / "model.pt").read_bytes() == best


def test_tensorboard_has_scalars_pictures_and_the_network(data: Path, once: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(once / "runs"), {"images": 0})
    found.Reload()
    tags = found.Tags()
    assert {"train_loss", "val_mean_dice"} <= set(tags["scalars"])
    assert set(tags["images"]) == {"training image", "validation case"}
    assert tags["graph"]
    shown = found.Images("validation case")[0]
    assert shown.width == 3 * data_shape(data)[1]


def data_shape(data: Path) -> tuple[int, ...]:
    import nibabel

    return tuple(nibabel.load(next((data / "imagesTr").glob("*.nii.gz"))).shape)

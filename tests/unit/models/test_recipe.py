"""From one recipe to a whole bundle; what is amiss is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiny_classifier import recipe, write_recipe
from wetread.errors import ConfigError
from wetread.infer.description import load_description, load_networks
from wetread.models.recipe import new_classifier


def new(folder: Path, **changes: Any) -> Path:
    bundle = folder / "bundle"
    new_classifier(write_recipe(folder / "recipe.json", **changes), bundle)
    return bundle


def config(bundle: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "configs" / name).read_text(encoding="utf-8"))
    return content


def test_a_recipe_gives_every_file_of_a_bundle(tmp_path: Path) -> None:
    bundle = new(tmp_path)
    names = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    configs = ("dicom", "evaluate", "export", "inference", "metadata", "recipe", "train")
    wanted = {f"configs/{name}.json" for name in configs} | {"configs/logging.conf", "LICENSE"}
    assert names == wanted | {"docs/README.md", "docs/data_license.txt"}
    assert [each.label for each in load_description(bundle).classes] == ["above", "below"]
    assert load_networks(bundle)["bundle"].output.shape == (-1, 2)


def test_a_window_in_hu_is_what_black_and_white_mean(tmp_path: Path) -> None:
    bundle = new(tmp_path, intensity={"window_hu": [-160, 240]})
    for name in ("train.json", "inference.json"):
        found = config(bundle, name)
        assert found["value_range"] == [-160, 240]
        assert (found["intensity"]["a_min"], found["intensity"]["a_max"]) == (-160, 240)


def test_the_normal_class_is_the_one_without_a_finding(tmp_path: Path) -> None:
    assert config(new(tmp_path), "inference.json")["normal"] == 0


def test_any_key_of_training_can_be_set(tmp_path: Path) -> None:
    train = {**recipe()["train"], "flip_probability": 0.5}
    assert config(new(tmp_path, train=train), "train.json")["flip_probability"] == 0.5


def test_a_bundle_that_came_from_a_recipe_keeps_its_pages(tmp_path: Path) -> None:
    bundle = new(tmp_path)
    (bundle / "docs/README.md").write_text("mine", encoding="utf-8")
    new(tmp_path, slices=7)
    assert (bundle / "docs/README.md").read_text(encoding="utf-8") == "mine"
    assert config(bundle, "inference.json")["slices"] == 7


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/file").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="did not come from a recipe"):
        new(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "colour is not a known key"),
        ({"train": {"backbone": "small_cnn", "epochs": 1}}, r"train\.image_size is missing"),
        ({"train": {**recipe()["train"], "speed": 1}}, r"train\.speed is not a known key"),
        ({"train": 3}, "train must be an object"),
        ({"classes": [{"label": "one"}]}, "classes must have at least two"),
        ({"intensity": {"window": [0, 1]}}, r"intensity has \['window'\]"),
    ],
)
def test_what_is_amiss_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        new(tmp_path, **changes)


def test_a_missing_key_and_a_broken_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"recipe\.json"):
        new_classifier(path, tmp_path / "bundle")
    path.write_text(json.dumps({"title": "x"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="description is missing"):
        new_classifier(path, tmp_path / "bundle")

"""From one recipe, `configs/recipe.json`, to the whole bundle of a classifier.

The recipe says what is particular to a task: which series, which classes, how grey values are
scaled, and how the network is trained. Everything else is the same for all and comes from
`templates/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError
from wetread.files import write_atomically
from wetread.infer.description import load_description, load_networks

RECIPE = "configs/recipe.json"
_TEMPLATES = files("wetread.models") / "templates"
_REQUIRED = ("title", "description", "data_source", "accepts", "classes", "intensity", "train")
_OPTIONAL = {"version": "0.1.0", "slices": 5, "licence": "", "data_licence": ""}
_REQUIRED_IN_TRAIN = ("backbone", "image_size", "epochs")
_PACKAGES = ("nibabel", "pillow", "pytorch-ignite", "efficientnet-lite-pytorch")

Recipe = Mapping[str, Any]


def read_recipe(path: Path) -> Recipe:
    """A recipe with its defaults. Raises ConfigError, naming the key that is amiss."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}", hint="a recipe is a JSON file") from error
    if not isinstance(content, dict):
        raise _fault(path, "the file must be an object")
    _check_keys(path, content, _REQUIRED, (*_REQUIRED, *_OPTIONAL))
    train = content["train"]
    if not isinstance(train, dict):
        raise _fault(path, "train must be an object")
    _check_keys(path, train, _REQUIRED_IN_TRAIN, tuple(_template("train.json")), "train.")
    if not isinstance(content["classes"], list) or len(content["classes"]) < 2:
        raise _fault(path, "classes must have at least two")
    return {**_OPTIONAL, **content}


def _check_keys(
    path: Path,
    table: Mapping[str, Any],
    required: tuple[str, ...],
    known: tuple[str, ...],
    place: str = "",
) -> None:
    for key in required:
        if key not in table:
            raise _fault(path, f"{place}{key} is missing")
    for key in table:
        if key not in known:
            raise _fault(path, f"{place}{key} is not a known key")


def _fault(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path}: {what}", hint="bundles/README.md describes a recipe")


def new_classifier(recipe_file: Path, bundle: Path) -> list[Path]:
    """Write the bundle of a recipe to the folder `bundle`, and say which files were written.

    A bundle that came from a recipe gets new `configs/`, and keeps its weights and pages.
    Raises ConfigError if the recipe is not whole, or the folder holds something else.
    """
    recipe = read_recipe(recipe_file)
    if bundle.exists() and any(bundle.iterdir()) and not (bundle / RECIPE).is_file():
        raise ConfigError(
            f"{bundle} is there, and did not come from a recipe", hint="choose another name"
        )
    pages = {
        "docs/README.md": _card(recipe, bundle.name),
        "docs/data_license.txt": _owner(recipe),
        "LICENSE": _licence(recipe),
    }
    configs = configs_of(recipe, bundle.name)
    wanted = {bundle / "configs" / name: text for name, text in configs.items()}
    wanted[bundle / RECIPE] = recipe_file.read_text(encoding="utf-8")
    wanted |= {bundle / name: text for name, text in pages.items() if not (bundle / name).exists()}
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [text.encode()])
    load_description(bundle), load_networks(bundle)
    return sorted(wanted)


def configs_of(recipe: Recipe, name: str) -> dict[str, str]:
    """The text of every file under `configs/`, but the recipe itself."""
    shared = {
        "classes": [each["label"] for each in recipe["classes"]],
        "backbone": recipe["train"]["backbone"],
        "image_size": recipe["train"]["image_size"],
        "intensity": _intensity(recipe["intensity"]),
        "value_range": recipe["intensity"].get("window_hu", [0, 255]),
    }
    inference = {"slices": recipe["slices"], "normal": _normal(recipe)}
    return {
        "train.json": _text({**_template("train.json"), **shared, **recipe["train"]}),
        "evaluate.json": _text(_template("evaluate.json")),
        "inference.json": _text({**_template("inference.json"), **shared, **inference}),
        "dicom.json": _text({"accepts": recipe["accepts"], "classes": recipe["classes"]}),
        "export.json": _text({"networks": {name: _network(recipe)}}),
        "metadata.json": _text(_metadata(recipe)),
        "logging.conf": (_TEMPLATES / "logging.conf").read_text(encoding="utf-8"),
    }


def _template(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_TEMPLATES / name).read_text(encoding="utf-8"))
    return content


def _text(content: Any) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def _normal(recipe: Recipe) -> int | None:
    """The number of the class that has no finding."""
    numbers = [n for n, each in enumerate(recipe["classes"]) if "finding" not in each]
    return numbers[0] if numbers else None


def _intensity(scaling: Mapping[str, Any]) -> dict[str, Any]:
    """The transform to 0..1: by percentiles of each slice, or by a window in HU."""
    if set(scaling) == {"percentiles"}:
        lower, upper = scaling["percentiles"]
        target = "wetread.bundle_components.pictures.ScaleSlicesd"
        return {"_target_": target, "keys": "image", "lower": lower, "upper": upper}
    if set(scaling) == {"window_hu"}:
        low, high = scaling["window_hu"]
        bounds = {"a_min": low, "a_max": high, "b_min": 0.0, "b_max": 1.0, "clip": True}
        return {"_target_": "ScaleIntensityRanged", "keys": "image", **bounds}
    raise ConfigError(
        f"intensity has {sorted(scaling)}, it takes either percentiles or window_hu",
        hint="bundles/README.md describes a recipe",
    )


def _network(recipe: Recipe) -> dict[str, Any]:
    size = recipe["train"]["image_size"]
    image = {"name": "image", "shape": [-1, 1, size, size], "dtype": "float32"}
    logits = {"name": "logits", "shape": [-1, len(recipe["classes"])], "dtype": "float32"}
    return {"config_id": "network_def", "input": image, "output": logits}


def _metadata(recipe: Recipe) -> dict[str, Any]:
    size, labels = recipe["train"]["image_size"], [each["label"] for each in recipe["classes"]]
    shared = {"type": "image", "dtype": "float32", "is_patch_data": False}
    image = {
        **shared,
        "format": "magnitude",
        "modality": " or ".join(recipe["accepts"]["modality"]),
        "num_channels": 1,
        "spatial_shape": [size, size],
        "value_range": [0, 1],
        "channel_def": {"0": "one slice or picture, padded to a square"},
    }
    pred = {
        **shared,
        "type": "probabilities",
        "format": "classification",
        "num_channels": len(labels),
        "spatial_shape": [],
        "value_range": [-100, 100],
        "channel_def": {str(number): label for number, label in enumerate(labels)},
    }
    return {
        "version": recipe["version"],
        "changelog": {recipe["version"]: "see docs/README.md"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").partition("+")[0],
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": {name: metadata.version(name) for name in _PACKAGES},
        "supported_apps": {},
        "name": recipe["title"],
        "task": f"Classification: {', '.join(labels)}",
        "description": recipe["description"],
        "authors": "the wetread authors",
        "copyright": recipe["licence"] or "see LICENSE",
        "data_source": recipe["data_source"],
        "data_type": "png, jpeg or DICOM",
        "image_classes": "one channel, scaled to 0..1",
        "label_classes": ", ".join(f"{number} {label}" for number, label in enumerate(labels)),
        "pred_classes": "logits in the same order",
        "eval_metrics": {},
        "intended_use": "Preliminary findings for research and workflow trials. "
        "Not for diagnostic use.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }


def _card(recipe: Recipe, name: str) -> str:
    """The page that is left to be filled: what is known before training stands there."""
    findings = [
        f"{each['finding']['meaning']} ({each['finding']['scheme']} {each['finding']['value']})"
        for each in recipe["classes"]
        if "finding" in each
    ]
    return "\n".join(
        [
            f"# {recipe['title']}",
            "",
            recipe["description"],
            "",
            "| | |",
            "|---|---|",
            f"| Input | {' or '.join(recipe['accepts']['modality'])} |",
            f"| Output | probability and operating point of: {', '.join(findings)} |",
            f"| Network | `{name}`: {recipe['train']['backbone']} |",
            "",
            "## Intended use",
            "Preliminary findings, for research and for trying a reading workflow. **Not for",
            "diagnostic use.** A person looks at every result.",
            "",
            "## Data",
            recipe["data_source"],
            "",
            "## Figures",
            f"`wetread bundle evaluate {name} --data DATA` gives them.",
            "",
            "## Limits",
            "Not yet described.",
            "",
            "## Licence",
            recipe["licence"] or "Not yet described.",
            "",
        ]
    )


def _owner(recipe: Recipe) -> str:
    return f"{recipe['data_source']}\n\n{recipe['data_licence']}".strip() + "\n"


def _licence(recipe: Recipe) -> str:
    return (recipe["licence"] or "No licence is stated.").strip() + "\n"

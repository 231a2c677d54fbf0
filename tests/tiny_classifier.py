"""A classifier without weights, whose answer is arithmetic: is it brighter above or below?

Its bundle is what a recipe gives, its network compares the means of the upper and the lower half,
so that a picture of which the lower half is brighter by 0.1 has the logits 0 and 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tiny_model import TinyModel
from wetread.models.recipe import new_classifier

NAME = "tiny_classifier"
SIZE = 64
GAIN = 10.0
LUNG = {"value": "39607008", "scheme": "SCT", "meaning": "Lung"}
PNEUMONIA = {"value": "233604007", "scheme": "SCT", "meaning": "Pneumonia"}


def recipe(**changes: Any) -> dict[str, Any]:
    """A whole recipe; `changes` replace its keys."""
    return {
        "title": "Above or below",
        "description": "Tells whether the lower half is brighter.",
        "data_source": "made up",
        "licence": "Apache-2.0",
        "accepts": {"modality": ["DX", "CR", "CT", "MR"], "min_instances": 1},
        "classes": [
            {"label": "above"},
            {"label": "below", "finding": PNEUMONIA, "finding_site": LUNG},
        ],
        "intensity": {"percentiles": [0, 100]},
        "slices": 2,
        "train": {"backbone": "small_cnn", "image_size": SIZE, "epochs": 1, "batch_size": 4},
        **changes,
    }


def write_recipe(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(recipe(**changes)), encoding="utf-8")
    return path


def write_tiny_classifier(folder: Path, **changes: Any) -> TinyModel:
    """Bundle, network and calibration (temperature 1, present from 0.6)."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / "bundles" / NAME
    new_classifier(write_recipe(folder / "recipe.json", **changes), bundle)
    points = {"above": 0.4, "below": 0.6}
    calibration = {"temperature": 1.0, "operating_points": points}
    (bundle / "models").mkdir()
    (bundle / "models/calibration.json").write_text(json.dumps(calibration), encoding="utf-8")
    version = folder / "triton_models" / NAME / "1"
    version.mkdir(parents=True)
    onnx.save(_network(), version / "model.onnx")
    return TinyModel(bundle, folder / "triton_models")


def _network() -> onnx.ModelProto:
    half = SIZE // 2
    numbers = {
        "zero": np.array([0]),
        "half": np.array([half]),
        "end": np.array([SIZE]),
        "row": np.array([2]),
        "axes": np.array([2, 3]),
        "gain": np.array([GAIN], np.float32),
        "nothing": np.array([[0.0]], np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["image", "zero", "half", "row"], ["upper"]),
        helper.make_node("Slice", ["image", "half", "end", "row"], ["lower"]),
        helper.make_node("ReduceMean", ["upper", "axes"], ["above"], keepdims=0),
        helper.make_node("ReduceMean", ["lower", "axes"], ["below"], keepdims=0),
        helper.make_node("Sub", ["below", "above"], ["difference"]),
        helper.make_node("Mul", ["difference", "gain"], ["second"]),
        helper.make_node("Mul", ["second", "nothing"], ["first"]),
        helper.make_node("Concat", ["first", "second"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

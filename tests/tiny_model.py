"""A real bundle with a real ONNX network that needs no weights: it finds the phantom's ellipsoid.

The network says 1 where a value lies between two bounds, so the mask it gives of the phantom is the
ellipsoid itself, and everything that follows is arithmetic.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

NETWORK = "tiny_ellipsoid"
# The phantom's ellipsoid has 120 HU (1144 in MR); its neighbours 30, 240 and 700.
BOUNDS = {"CT": (100.0, 140.0), "MR": (1124.0, 1164.0)}


@dataclass(frozen=True)
class TinyModel:
    """Where the bundle and its exported network lie, and the Triton that serves it, if one does."""

    bundle: Path
    repository: Path
    triton_url: str = ""


def write_tiny_model(folder: Path, modality: str = "CT") -> TinyModel:
    """Write bundle and network under `folder`."""
    bundle = folder / "bundles" / NETWORK
    (bundle / "configs").mkdir(parents=True)
    for name, content in _configs(modality).items():
        (bundle / "configs" / name).write_text(json.dumps(content), encoding="utf-8")
    repository = folder / "triton_models"
    version = repository / NETWORK / "1"
    version.mkdir(parents=True)
    onnx.save(_network(*BOUNDS[modality]), version / "model.onnx")
    return TinyModel(bundle, repository)


def _configs(modality: str) -> dict[str, object]:
    tensor = {"shape": [1, 1, -1, -1, -1], "dtype": "float32"}
    return {
        "metadata.json": {"version": "0.0.1"},
        "export.json": {
            "networks": {
                NETWORK: {
                    "config_id": "network_def",
                    "input": {"name": "x", **tensor},
                    "output": {"name": "y", **tensor, "shape": [1, 2, -1, -1, -1]},
                }
            }
        },
        "inference.json": {
            "network_def": None,
            "preprocessing": {
                "_target_": "Compose",
                "transforms": [{"_target_": "LoadImaged", "keys": "image"}],
            },
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": {
                "_target_": "Compose",
                "transforms": [
                    {
                        "_target_": "wetread.bundle_components.transforms.ThresholdChanneld",
                        "keys": "pred",
                        "channel": 1,
                        "threshold": 0.5,
                    }
                ],
            },
        },
        "dicom.json": {
            "accepts": {"modality": [modality], "min_instances": 3},
            "segments": [
                {
                    "label_value": 1,
                    "segment_number": 1,
                    "label": "Ellipsoid",
                    "category": {
                        "value": "49755003",
                        "scheme": "SCT",
                        "meaning": "Morphologically Abnormal Structure",
                    },
                    "type": {"value": "4147007", "scheme": "SCT", "meaning": "Mass"},
                    "cielab": [60.0, 40.0, 20.0],
                    "tracking_id": "ellipsoid",
                }
            ],
        },
    }


def _network(low: float, high: float) -> onnx.ModelProto:
    shape = [1, 1, None, None, None]
    nodes = [
        helper.make_node("Greater", ["x", "low"], ["above"]),
        helper.make_node("Less", ["x", "high"], ["below"]),
        helper.make_node("And", ["above", "below"], ["within"]),
        helper.make_node("Cast", ["within"], ["inside"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "inside"], ["outside"]),
        helper.make_node("Concat", ["outside", "inside"], ["y"], axis=1),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("low", low), ("high", high), ("one", 1.0))
    ]
    graph = helper.make_graph(
        nodes,
        NETWORK,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, None, None, None])],
        constants,
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)

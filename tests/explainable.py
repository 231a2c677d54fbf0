"""Bundles whose torch network needs no training and whose ONNX was built from it, to be explained.

The classifier's second class rests on what is brighter than 0.7, its first on what is darker than
0.3; the segmenter finds the ellipsoid of a CT phantom, voxel by voxel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_classifier import write_tiny_classifier
from tiny_model import TinyModel, write_tiny_model
from wetread.infer.base import no_progress
from wetread.models.export import build_models


def write_explainable_classifier(folder: Path) -> TinyModel:
    """Classes "above" (dark) and "below" (bright, pneumonia), pictures of 64 by 64."""
    tiny = write_tiny_classifier(folder)
    return _built(tiny, "BrightClassifier", {})


def write_explainable_segmenter(
    folder: Path, spacing_mm: float | None = None, roi: int = -1
) -> TinyModel:
    """Reads CT in axes of its own, at `spacing_mm`; its network takes `roi` voxels an axis."""
    tiny = write_tiny_model(folder)
    export = tiny.bundle / "configs/export.json"
    content = json.loads(export.read_text(encoding="utf-8"))
    for network in content["networks"].values():
        network["input"]["shape"][2:] = network["output"]["shape"][2:] = [roi] * 3
    export.write_text(json.dumps(content), encoding="utf-8")
    transforms = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    ]
    if spacing_mm is not None:
        spacing = {"_target_": "Spacingd", "keys": "image", "mode": "nearest"}
        transforms.append({**spacing, "pixdim": [spacing_mm] * 3})
    steps = {
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "inferer": {"_target_": "SimpleInferer"}
        if roi == -1
        else {"_target_": "SlidingWindowInferer", "roi_size": [roi] * 3, "overlap": 0.25},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    }
    return _built(tiny, "EllipsoidSegmenter", steps)


def _built(tiny: TinyModel, network: str, changes: dict[str, Any]) -> TinyModel:
    path = tiny.bundle / "configs/inference.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content |= changes | {"network_def": {"_target_": f"unit.explain.networks.{network}"}}
    path.write_text(json.dumps(content), encoding="utf-8")
    build_models(tiny.bundle, tiny.repository, no_progress)
    return tiny

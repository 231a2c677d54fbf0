"""The tiny bundle, with a network that is no network, and files that can be changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest

from phantom import rotation
from tiny_model import NETWORK, write_tiny_model
from wetread.config import EmbeddedModel
from wetread.infer.base import FakePredictor, Predictor
from wetread.infer.bundle import BundleModel, open_model

Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class EditableBundle:
    """A bundle whose configuration a test may change before it opens it."""

    path: Path
    repository: Path

    def edit(self, file: str, change: Change) -> None:
        path = self.path / "configs" / file
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    def open(self, predictor: Predictor | None = None) -> BundleModel:
        chosen = predictor or FakePredictor(NETWORK, threshold=0.5)
        config = EmbeddedModel(bundle=self.path)
        return open_model("tiny", config, self.repository, lambda _network: chosen)


@pytest.fixture
def tiny(tmp_path: Path) -> EditableBundle:
    written = write_tiny_model(tmp_path)
    return EditableBundle(written.bundle, written.repository)


@pytest.fixture
def oblique() -> highdicom.Volume:
    """Random values from 0 to 1 on a turned grid of unequal spacing, its axes S, P and L."""
    axes = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * (5.0, 1.5, 0.7)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation(17.0) @ axes, (-31.0, 12.5, 88.0)
    values = np.random.default_rng(5).random((9, 14, 17), np.float32)
    return highdicom.Volume(values, affine, coordinate_system="PATIENT")

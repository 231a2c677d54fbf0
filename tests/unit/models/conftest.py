"""A bundle of one small network, in the Model Zoo's shape, and a folder to export it to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from wetread.models.export import BuiltModel, build_models

NETWORK = "small"
SHAPE = [1, 1, 12, 10, 8]
# As the Model Zoo writes it: layers here, weights in models/model.pt.
CONV = {
    "_target_": "torch.nn.Conv3d",
    "in_channels": 1,
    "out_channels": 2,
    "kernel_size": 3,
    "padding": 1,
}
Definition = dict[str, Any] | str | int


@dataclass(frozen=True)
class SmallBundle:
    """Its files may be changed before it is built."""

    path: Path
    repository: Path
    progress: list[tuple[str, float]] = field(default_factory=list)

    @property
    def weights(self) -> Path:
        return self.path / "models" / "model.pt"

    @property
    def onnx(self) -> Path:
        """Of the newest version; of the first, before there is any."""
        numbers = [each.name for each in (self.repository / NETWORK).glob("[0-9]*")]
        newest = max(numbers, key=int, default="1")
        return self.repository / NETWORK / newest / "model.onnx"

    def define(self, definition: Definition) -> None:
        content = {"imports": ["$import torch"], "network_def": definition}
        self._write("inference.json", content)

    def define_odd(self, name: str) -> None:
        """One of `networks.py`, which needs no weights."""
        self.weights.unlink(missing_ok=True)
        self.define({"_target_": f"unit.models.networks.{name}"})

    def declare(self, **changes: Any) -> None:
        """Write export.json; a change is a key of the network or of one of its tensors."""
        network = {
            "config_id": changes.get("config_id", "network_def"),
            "input": tensor("x", SHAPE, changes.get("input", {})),
            "output": tensor("y", [1, 2, *SHAPE[2:]], changes.get("output", {})),
            "opset": changes.get("opset", 18),
        }
        self._write("export.json", {"networks": {NETWORK: network}})

    def train(self, seed: int) -> dict[str, torch.Tensor]:
        """Other weights; the bias makes some voxels foreground and others not."""
        torch.manual_seed(seed)
        state = {"weight": torch.randn(2, 1, 3, 3, 3), "bias": torch.zeros(2)}
        self.weights.parent.mkdir(exist_ok=True)
        torch.save(state, self.weights)
        return state

    def build(self) -> list[BuiltModel]:
        return build_models(self.path, self.repository, lambda *step: self.progress.append(step))

    def files(self) -> list[str]:
        """Every file in the repository, and every hidden one."""
        found = (path for path in self.repository.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.repository)) for path in found)

    def versions(self) -> list[str]:
        return sorted(each.parent.name for each in self.repository.glob(f"{NETWORK}/*/model.onnx"))

    def _write(self, name: str, content: object) -> None:
        (self.path / "configs").mkdir(parents=True, exist_ok=True)
        (self.path / "configs" / name).write_text(json.dumps(content), encoding="utf-8")


def tensor(name: str, shape: list[int], changes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": "float32", **changes}


@pytest.fixture
def small(tmp_path: Path) -> SmallBundle:
    bundle = SmallBundle(tmp_path / "small_bundle", tmp_path / "triton_models")
    bundle.define(CONV)
    bundle.declare()
    bundle.train(seed=1)
    return bundle

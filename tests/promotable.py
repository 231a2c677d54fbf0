"""A bundle whose network has weights in torch, so that it can be promoted and rolled back.

The network says 1 where a value lies within a band, which is its weights: from 100 to 140 it finds
the phantom's ellipsoid, from 20 to 140 the tissue of 30 HU around it too. Which weights read an
image can be seen in what they found.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

from tiny_model import _configs as tiny_configs
from wetread.corrections.cases import Correction, Review, write_correction, write_holdout
from wetread.infer.base import no_progress
from wetread.models.evidence import Evidence
from wetread.models.export import build_models
from wetread.models.manifest import seal
from wetread.models.promote import Proposal
from wetread.models.terms import Terms

NAME = "tiny_band"
NARROW, WIDE, WIDER = (100.0, 140.0), (20.0, 140.0), (15.0, 145.0)
SHAPE = (10, 12, 12)
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TERMS = Terms(least_cases=4, least_group=2)


class Band(torch.nn.Module):
    """Channel 1 is 1 between two bounds; they are the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.low = torch.nn.Parameter(torch.tensor(0.0))
        self.high = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = torch.sigmoid(x - self.low) * torch.sigmoid(self.high - x)
        return torch.cat([1 - inside, inside], 1)


@dataclass(frozen=True)
class Promotable:
    """A bundle, built, and where its candidates lie."""

    bundle: Path
    repository: Path
    data: Path

    def candidate(self, low: float, high: float, name: str = "candidate") -> Path:
        """A copy of the bundle with other weights."""
        folder = self.bundle.parent.parent / name
        ignored = shutil.ignore_patterns(".promotions")
        shutil.copytree(self.bundle, folder, ignore=ignored, dirs_exist_ok=True)
        save_weights(folder, low, high)
        return folder

    def proposal(self, candidate: Path, **changes: Any) -> Proposal:
        """To promote it on the data, by terms that few cases meet."""
        values: dict[str, Any] = {
            "evidence": Evidence(self.data),
            "terms": TERMS,
            "by": "the tests",
            **changes,
        }
        return Proposal(self.bundle, candidate, self.repository, **values)

    def files(self) -> dict[str, bytes]:
        """Everything that a person or a gateway sees of the bundle."""
        return {
            str(path.relative_to(self.bundle)): path.read_bytes()
            for path in sorted(self.bundle.rglob("*"))
            if path.is_file() and ".promotions" not in path.parts
        }

    def versions(self) -> list[str]:
        """Of the network, in the repository."""
        found = (self.repository / NAME).glob("[0-9]*/model.onnx")
        return sorted(each.parent.name for each in found)

    def left_aside(self) -> list[str]:
        """What no promotion should leave in the repository."""
        return [each.name for each in self.repository.glob(".*")]

    def copied_to(self, folder: Path) -> Promotable:
        """The same in another place."""
        shutil.copytree(self.bundle.parent.parent, folder)
        return Promotable(
            folder / "bundles" / NAME, folder / self.repository.name, folder / self.data.name
        )


def write_promotable(folder: Path, bounds: tuple[float, float] = NARROW) -> Promotable:
    """A sealed bundle with its network built, and data on which a wide band is better."""
    bundle = folder / "bundles" / NAME
    (bundle / "configs").mkdir(parents=True)
    for name, content in _configs().items():
        (bundle / "configs" / name).write_text(json.dumps(content, indent=4), encoding="utf-8")
    save_weights(bundle, *bounds)
    seal(bundle)
    repository = folder / "triton_models"
    build_models(bundle, repository, no_progress)
    return Promotable(bundle, repository, write_data(folder / "data"))


def save_weights(bundle: Path, low: float, high: float) -> None:
    (bundle / "models").mkdir(exist_ok=True)
    state = {"low": torch.tensor(low), "high": torch.tensor(high)}
    torch.save(state, bundle / "models/model.pt")


def _configs() -> dict[str, Any]:
    configs: dict[str, Any] = dict(tiny_configs("CT"))
    configs["metadata.json"] = {"version": "0.1.0", "changelog": {"0.1.0": "first"}}
    # One small shape keeps the export's own comparison quick.
    fixed = {"shape": [1, 1, *SHAPE], "dtype": "float32"}
    configs["export.json"] = {
        "networks": {
            NAME: {
                "config_id": "network_def",
                "input": {"name": "x", **fixed},
                "output": {"name": "y", **fixed, "shape": [1, 2, *SHAPE]},
            }
        }
    }
    configs["inference.json"]["network_def"] = {"_target_": "promotable.Band"}
    return configs


def write_data(folder: Path, count: int = 6, wide: Sequence[bool] = ()) -> Path:
    """Cases with a block of 120 and one of 30; the label has both, or where not `wide` the first.

    By sex in cases.csv, F and M in turns.
    """
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    rows, training = ["file,sex"], []
    for number in range(count):
        image, label = blocks(both=not wide or wide[number], shift=number % 3)
        name = f"case_{number:02}.nii.gz"
        nibabel.save(image, folder / "imagesTr" / name)
        nibabel.save(label, folder / "labelsTr" / name)
        training.append({"image": f"imagesTr/{name}", "label": f"labelsTr/{name}"})
        rows.append(f"{name},{'FM'[number % 2]}")
    (folder / "dataset.json").write_text(json.dumps({"training": training}), encoding="utf-8")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def blocks(*, both: bool, shift: int = 0) -> tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]:
    """An image of 1 mm voxels and its label."""
    image, label = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    for value, start in ((120.0, 1), (30.0, 6)):
        image[start : start + 3, 2 + shift : 6 + shift, 3:8] = value
    label[(image > 0) if both else (image == 120.0)] = 1
    return nibabel.Nifti1Image(image, np.eye(4)), nibabel.Nifti1Image(label, np.eye(4))


def write_corrections(
    folder: Path, facts: Sequence[Mapping[str, str]], held_out: int, *, both: bool = True
) -> Path:
    """One correction for each of `facts`, an hour apart; the first `held_out` are held out."""
    for number, known in enumerate(facts):
        image, label = blocks(both=both, shift=number % 3)
        correction = Correction(
            case_id=f"c{number}",
            series_instance_uid=f"1.2.{number}.1",
            study_instance_uid=f"1.2.{number}",
            annotator="ann",
            annotated_at=NOW + timedelta(hours=number),
            from_model=None,
            subgroups=known,
            review=Review.CORRECTED,
        )
        write_correction(folder, NAME, correction, image, label)
    write_holdout(folder, NAME, {f"c{number}" for number in range(held_out)})
    return folder

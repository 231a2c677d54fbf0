"""What a bundle's own files say of it: nothing here is written a second time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3 Table 8.8-1)."""

    value: str
    scheme: str
    meaning: str

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Code:
        """From `dicom.json`."""
        return cls(values["value"], values["scheme"], values["meaning"])


@dataclass(frozen=True)
class Segment:
    """One label value of a bundle, as `configs/dicom.json` describes it."""

    label_value: int
    number: int
    label: str
    category: Code
    type: Code
    region: Code | None
    cielab: tuple[float, float, float]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Segment:
        """From an item of `segments`."""
        region = values.get("anatomic_region")
        light, red, yellow = values["cielab"]
        return cls(
            label_value=int(values["label_value"]),
            number=int(values["segment_number"]),
            label=str(values["label"]),
            category=Code.of(values["category"]),
            type=Code.of(values["type"]),
            region=Code.of(region) if region else None,
            cielab=(float(light), float(red), float(yellow)),
        )


@dataclass(frozen=True)
class Bundle:
    """A folder in the shape of a MONAI bundle, with `segments` or with `classes`.

    `click_labels` are what a reader may click on, if the network heeds clicks.
    """

    folder: Path
    description: str
    version: str
    segments: tuple[Segment, ...]
    click_labels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name, which is the model's."""
        return self.folder.name

    @property
    def weights(self) -> Path:
        """Where its weights are or would be."""
        return self.folder / "models" / "model.pt"

    @property
    def can_train(self) -> bool:
        """Whether a labelmap teaches it something."""
        return bool(self.segments) and (self.folder / "configs/train.json").is_file()

    @property
    def labels(self) -> dict[str, int]:
        """Name → label value, in order of the values."""
        return {each.label: each.label_value for each in self.segments}


def read_bundle(folder: Path) -> Bundle:
    """The bundle in that folder."""
    metadata = _json(folder / "configs/metadata.json")
    segments = _json(folder / "configs/dicom.json").get("segments", [])
    inference = _json(folder / "configs/inference.json")
    return Bundle(
        folder=folder,
        description=str(metadata["description"]),
        version=str(metadata["version"]),
        segments=tuple(sorted(map(Segment.of, segments), key=lambda each: each.label_value)),
        click_labels=tuple(inference.get("click_labels", ())),
        classes=tuple(inference.get("classes", ())),
    )


def find_bundles(folder: Path) -> dict[str, Bundle]:
    """Every bundle in a folder, by name, but those whose segments may overlap.

    A label here has one number a voxel.
    """
    described = sorted(folder.glob("*/configs/dicom.json"))
    found = [path.parents[1] for path in described if not _json(path).get("segments_overlap")]
    return {each.name: read_bundle(each) for each in found}


def _json(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values

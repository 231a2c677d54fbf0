"""Does a region help to name a brain tumour? Networks of one recipe on the same slices.

    wetread bundle train brain_tumour_mri_classification --data DATA
    python tests/benchmarks/regions.py --data DATA --output OUT [--only NAME …]

Every network but the classifier is trained by the train.json of brain_tumour_mri_pipeline, in which
only its views are changed, and answers for the validation split, which also chose its epoch. A
network that is in OUT already is not trained again. Intervals are 95 % bootstrap intervals over
groups of look-alike slices; differences are paired.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import table
from wetread.bundle_components.data import labelled_files
from wetread.bundle_components.regions import RegionClassifier, box_around
from wetread.models.intervals import grouped_interval
from wetread.models.train import train_bundle

BUNDLES = Path(__file__).parents[2] / "bundles"
PIPELINE = BUNDLES / "brain_tumour_mri_pipeline"
TEACHER = BUNDLES / "brain_tumour_mri_classification" / "models"
WHOLE = "whole (the classifier)"
VARIANTS: Mapping[str, Sequence[str]] = {
    "whole and region": ["whole", "region"],
    "region": ["region"],
    "whole and middle": ["whole", "middle"],
}


@dataclass(frozen=True)
class Cases:
    """The validation slices as the networks see them, with the region that the teacher says."""

    images: torch.Tensor
    regions: torch.Tensor
    labels: NDArray[np.int64]
    groups: list[str]


def train(name: str, data: Path, output: Path) -> Path:
    """Train one variant, unless it is there; the folder of its bundle."""
    bundle = output / name.replace(" ", "_")
    if (bundle / "models/calibration.json").is_file():
        return bundle
    shutil.copytree(PIPELINE / "configs", bundle / "configs", dirs_exist_ok=True)
    config = bundle / "configs/train.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content |= {"views": VARIANTS[name], "teacher_weights": str(TEACHER / "model.pt")}
    config.write_text(json.dumps(content, indent=4), encoding="utf-8")
    found = train_bundle(bundle, data, bundle / "models", lambda *_: None)
    print(f"{name}: {found.metric} {found.best_score:.4f}", file=sys.stderr)
    return bundle


def parsed(bundle: Path, data: Path) -> ConfigParser:
    """The train.json of a variant."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/train.json"))
    parser["dataset_dir"] = str(data)
    return parser


def cases(bundle: Path, data: Path) -> Cases:
    """Those of the split `val`."""
    parser = parsed(bundle, data)
    steps = [*parser.get_parsed_content("deterministic"), parser.get_parsed_content("taught")]
    items = labelled_files(data, "val", parser["classes"])
    found = [Compose(steps)(item) for item in items]
    return Cases(
        torch.stack([each["image"] for each in found]),
        torch.stack([each["target"][1:] for each in found]),
        np.array([item["label"] for item in items]),
        [item["group"] for item in items],
    )


def load(bundle: Path, data: Path) -> RegionClassifier:
    """The network of a trained variant."""
    network: RegionClassifier = parsed(bundle, data).get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    return network.eval()


def report(data: Path, output: Path, names: Sequence[str]) -> str:
    """The table, and how the segmenter of the first variant agrees with its teacher."""
    bundles = {name: train(name, data, output) for name in names}
    first = next(iter(bundles.values()))
    asked = cases(first, data)
    classifier = parsed(first, data).get_parsed_content("teacher")
    plain = rightness(classifier, asked)
    rows = [[WHOLE, *_cost(TEACHER), _interval(plain, asked.groups), ""]]
    for name, bundle in bundles.items():
        right = rightness(load(bundle, data), asked)
        less = _interval(right - plain, asked.groups, sign="+")
        rows.append([name, *_cost(bundle / "models"), _interval(right, asked.groups), less])
    heads = ["views", "parameters", "minutes", "AUC", "accuracy", "less that of the classifier"]
    return f"{table(heads, rows)}\n\n{agreement(load(first, data), asked)}"


def _cost(folder: Path) -> list[str]:
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return [f"{record['parameters']:,}", f"{record['minutes']:.0f}", f"{record['best_score']:.3f}"]


def rightness(network: torch.nn.Module, asked: Cases) -> NDArray[np.float64]:
    """1 for every slice that is recognised."""
    with torch.no_grad():
        found = torch.cat([network(part) for part in asked.images.split(32)])
    return (found.argmax(1).numpy() == asked.labels).astype(np.float64)


def agreement(network: RegionClassifier, asked: Cases) -> str:
    """Of the slices with a tumour: what the segmenter finds against what it was taught."""
    chosen = torch.from_numpy(asked.labels) > 0
    with torch.no_grad():
        logits = network.segmenter(torch.nn.functional.avg_pool2d(asked.images, 2))
    found, taught = logits[chosen] > 0, asked.regions[chosen, :, ::2, ::2] > 0
    both, either = (found & taught).flatten(1).sum(1), (found | taught).flatten(1).sum(1)
    shared = (both / either.clamp(min=1)).mean()
    _, half = box_around(logits.sigmoid())
    return (
        f"mean IoU with the teacher's regions {shared:.2f}; half side of the box, as a share of "
        f"half the image: {half[chosen].median():.2f} (median) with a tumour, "
        f"{half[~chosen].median():.2f} without"
    )


def _interval(values: NDArray[np.float64], groups: list[str], sign: str = "") -> str:
    found = grouped_interval(groups, lambda drawn: float(values[drawn].mean()))
    assert found is not None
    return f"{values.mean():{sign}.1%} [{found[0]:{sign}.1%}, {found[1]:{sign}.1%}]"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    given = parser.parse_args()
    print(report(given.data, given.output, given.only))


if __name__ == "__main__":
    main()

"""Does fusion help, and what if a modality is missing? Networks of one size on the same subjects.

    wetread phantom DATA --format nifti --count 1400 --seed 2025 --matrix 48 --slices 44 \
        --effects noise=3,bias=3,motion=1
    python tests/benchmarks/fusion.py --data DATA --output OUT [--seeds 1] [--only NAME …]

Every network is trained by the bundle's own train.json, in which only what `VARIANTS` says is
changed, and chosen on the validation split; the test split is seen once, at the end. A network that
is in OUT already is not trained again. Intervals are 95 % bootstrap intervals over test subjects.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.transforms import Compose
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.tables import table
from wetread.bundle_components.data import labelled_files
from wetread.models.intervals import confidence_interval
from wetread.models.train import train_bundle

BUNDLE = Path(__file__).parents[2] / "bundles" / "multimodal_fusion"
ALL = ("t1", "t2", "flair", "ct")
EARLY = {
    "network_def#_target_": "wetread.bundle_components.fusion.EarlyFusionClassifier",
    "filters": [16, 32, 64],
}
PLAIN: dict[str, Any] = {**EARLY, "drop_probability": 0.0}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "fusion": {},
    "fusion, no deep supervision": {"supervision_weight": 0.0},
    "early, dropping modalities": EARLY,
    "early, wide, dropping modalities": {**EARLY, "filters": [24, 48, 64]},
    "early": PLAIN,
    **{f"{a} and {b}": {**PLAIN, "modalities": [a, b]} for a, b in (ALL[:2], ALL[1:3])},
    **{name: {**PLAIN, "modalities": [name]} for name in ALL},
}
Answers = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """A trained network and what it costs."""

    network: torch.nn.Module
    modalities: tuple[str, ...]
    parameters: int


def train(name: str, seed: int, data: Path, output: Path) -> Path:
    """Train one variant, unless it is there; the folder of its bundle."""
    bundle = output / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
    if (bundle / "models/calibration.json").is_file():
        return bundle
    shutil.copytree(BUNDLE / "configs", bundle / "configs", dirs_exist_ok=True)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/train.json"))
    for place, value in VARIANTS[name].items():
        parser[place] = value
    parser["seed"] = int(parser["seed"]) + seed
    # Read and resampled once for all variants of the same modalities.
    folder = output / "prepared" / "-".join(parser["modalities"])
    for split in ("train", "validate"):
        parser[f"{split}#dataset"] = {
            "_target_": "PersistentDataset",
            "data": parser[f"{split}#dataset#data"],
            "transform": parser[f"{split}#dataset#transform"],
            "cache_dir": str(folder / split),
            "weights_only": False,
        }
    ConfigParser.export_config_file(parser.get(), str(bundle / "configs/train.json"), indent=4)
    prepare(bundle, data)
    started = time.process_time()
    # What is prepared has no positions that augmentation would have to keep track of.
    set_track_meta(False)
    found = train_bundle(bundle, data, bundle / "models", lambda *_: None)
    set_track_meta(True)
    spent = {
        "minutes": (time.process_time() - started) / 60,
        "best_epoch": found.best_epoch,
        "score": found.best_score,
    }
    (bundle / "spent.json").write_text(json.dumps(spent), encoding="utf-8")
    print(f"{bundle.name}: {found.metric} {found.best_score:.4f}, {spent}", file=sys.stderr)
    return bundle


def prepare(bundle: Path, data: Path) -> None:
    """Read every subject once, so that what is before the first random step lies on disk."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/train.json"))
    parser["dataset_dir"] = str(data)
    for split in ("train", "validate"):
        dataset = parser.get_parsed_content(f"{split}#dataset")
        folder = Path(parser[f"{split}#dataset#cache_dir"])
        if len(list(folder.glob("*.pt"))) < len(dataset):
            for number in range(len(dataset)):
                dataset[number]


def load(bundle: Path) -> Trained:
    """The network of a trained variant."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/train.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    count = sum(each.numel() for each in network.parameters())
    return Trained(network.eval(), tuple(parser["modalities"]), count)


def subjects(data: Path, split: str) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """(subject, modality, …) as the networks see them, and the class of each."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs/train.json"))
    prepare = Compose(
        [*parser.get_parsed_content("deterministic"), parser.get_parsed_content("middle")]
    )
    items = labelled_files(data, split, parser["classes"])
    images = torch.stack([prepare({"image": each["image"]})["image"] for each in items])
    return images, np.array([each["label"] for each in items])


def answers(trained: Trained, images: torch.Tensor, present: Sequence[str]) -> Answers:
    """(subject, class) probabilities with those modalities, the others absent."""
    channels = [ALL.index(name) for name in trained.modalities]
    mask = torch.tensor([float(name in present) for name in trained.modalities])
    given = images[:, channels] * mask[:, None, None, None]
    with torch.no_grad():
        logits = torch.cat([trained.network(part) for part in given.split(32)])
    return torch.softmax(logits, 1).numpy().astype(np.float64)


def rightness(
    bundles: Sequence[Path], present: Sequence[str], images: torch.Tensor, labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(seed, subject): who is recognised."""
    networks = [load(bundle) for bundle in bundles]
    return np.array([answers(each, images, present).argmax(1) == labels for each in networks])


def specialist(present: Sequence[str]) -> str | None:
    """The variant that was trained for just these modalities, but not for all four."""
    wanted = list(present)
    known = (name for name, each in VARIANTS.items() if each.get("modalities") == wanted)
    return next(known, None)


def report(data: Path, output: Path, seeds: int, names: Sequence[str]) -> str:
    """The tables, as Markdown; differences are for the same modalities, paired by subject."""
    bundles = {name: [train(name, seed, data, output) for seed in range(seeds)] for name in names}
    images, labels = subjects(data, "test")
    general = [name for name in names if "modalities" not in VARIANTS[name]]
    rows, apart = [], []
    for count in range(len(ALL), 0, -1):
        for present in itertools.combinations(ALL, count):
            own = specialist(present)
            columns = [*general, *([own] if own in names else [])]
            found = {
                name: rightness(bundles[name], present, images, labels).mean(0) for name in columns
            }
            cells = [_with_interval(found[name]) for name in columns]
            rows.append([" ".join(present), *cells, *[""] * (len(general) + 1 - len(columns))])
            apart += [
                [" ".join(present), name, _with_interval(share - found["fusion"], sign="+")]
                for name, share in found.items()
                if "fusion" in found and name != "fusion"
            ]
    costs = [_cost(name, bundles[name]) for name in names]
    return "\n\n".join(
        [
            table(["network", "parameters", "CPU minutes", "val AUC, best epoch"], costs),
            table(["modalities", *general, "trained for these alone"], rows),
            table(["modalities", "network", "accuracy less that of fusion"], apart),
        ]
    )


def _cost(name: str, bundles: Sequence[Path]) -> list[str]:
    spent = [json.loads((bundle / "spent.json").read_text(encoding="utf-8")) for bundle in bundles]
    return [
        name,
        f"{load(bundles[0]).parameters:,}",
        ", ".join(f"{each['minutes']:.1f}" for each in spent),
        ", ".join(f"{each['score']:.3f} ({each['best_epoch']})" for each in spent),
    ]


def _with_interval(values: NDArray[np.float64], sign: str = "") -> str:
    bounds = confidence_interval(values.tolist())
    assert bounds is not None
    low, high = (f"{bound:{sign}.1%}" for bound in bounds)
    return f"{values.mean():{sign}.1%} [{low}, {high}]"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    given = parser.parse_args()
    print(report(given.data, given.output, given.seeds, given.only))


if __name__ == "__main__":
    main()

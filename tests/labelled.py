"""A tiny folder of labelled pictures, made up: a bright disc, for each class at another place."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SHAPE = (72, 60)


def write_labelled(
    folder: Path,
    classes: Sequence[str] = ("no_finding", "pneumonia"),
    *,
    train: int = 4,
    val: int = 3,
) -> Path:
    """`train` and `val` pictures of each class, each of a patient of its own, and labels.csv."""
    rows = []
    for split, count in (("train", train), ("val", val)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            for place, label in enumerate(classes):
                name = f"{split}/{label}_{number}.png"
                write_disc(folder / name, place, len(classes), seed=len(rows))
                rows.append(
                    {"file": name, "label": label, "split": split, "patient": f"P{len(rows)}"}
                )
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_disc(path: Path, place: int, places: int, seed: int = 0) -> None:
    """A disc of 12 pixels across, the further down the larger `place` is."""
    rows, columns = np.indices(SHAPE)
    centre = SHAPE[0] * (place + 1) / (places + 1)
    disc = (rows - centre) ** 2 + (columns - SHAPE[1] / 2) ** 2 < 6**2
    grey = np.random.default_rng(seed).normal(60, 10, SHAPE) + 150 * disc
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(path)

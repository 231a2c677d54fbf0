"""A tiny folder in the form of the Medical Segmentation Decathlon, made up: two balls in noise."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

SHAPE = (32, 44, 30)


def write_decathlon(
    folder: Path,
    count: int = 6,
    splits: dict[str, list[int]] | None = None,
    box: tuple[slice, ...] = (),
) -> Path:
    """Write `count` cases, and a splits.json if `splits` names some by number.

    `box` is the part of each image that is enough.
    """
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        image, label = _case(number)
        _save(folder / "imagesTr" / name_of(number), image[box])
        _save(folder / "labelsTr" / name_of(number), label[box])
    training = [
        {"image": f"./imagesTr/{name_of(each)}", "label": f"./labelsTr/{name_of(each)}"}
        for each in range(count)
    ]
    (folder / "dataset.json").write_text(json.dumps({"training": training}), encoding="utf-8")
    if splits is not None:
        named = {split: [name_of(each) for each in numbers] for split, numbers in splits.items()}
        (folder / "splits.json").write_text(json.dumps(named), encoding="utf-8")
    return folder


def name_of(number: int) -> str:
    return f"ball_{number:03}.nii.gz"


def _case(number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A front and a back ball, 1 and 2, a little moved from case to case."""
    random = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(float)
    label = np.zeros(SHAPE, np.uint8)
    for value, y in ((1, 30), (2, 16)):
        centre = np.array([16, y, 15]) + random.uniform(-2, 2, 3)
        label[((grid - centre) ** 2).sum(-1) < 6.0**2] = value
    image = random.normal(0, 20, SHAPE) + 100.0 * label
    return image.astype(np.float32), label


def _save(path: Path, array: NDArray[np.generic]) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)

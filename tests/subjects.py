"""A tiny folder of subjects in several modalities, each a NIfTI file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from labelled import write_rows

SHAPE = (6, 7, 8)
AFFINE = np.diag([20.0, 22.0, 18.0, 1.0])
AFFINE[:3, 3] = (-50.0, -66.0, -63.0)
_MARK = (2, 3, 4)


def write_subject(folder: Path, marks: Mapping[str, float], shift_mm: float = 0.0) -> Path:
    """For each modality an image of 1 in air of 0.5, with one voxel of the value in `marks`.

    `labels.nii.gz` has the value 10 in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    affine = AFFINE.copy()
    affine[0, 3] += shift_mm
    for name, value in marks.items():
        array = np.full(SHAPE, 0.5, np.float32)
        array[1:-1, 1:-1, 1:-1] = 1.0
        array[_MARK] = value
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    labels = np.zeros(SHAPE, np.uint8)
    labels[_MARK] = 10
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    return folder


def write_subjects(
    folder: Path, classes: Sequence[str], modalities: Sequence[str], *, train: int = 2, val: int = 2
) -> Path:
    """`train` and `val` subjects of each class, which differ in their bright voxel; labels.csv."""
    rows = []
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            for place, label in enumerate(classes):
                name = f"{label}_{split}_{number}"
                bright = 2.0 + place + 0.01 * len(rows)
                write_subject(folder / name, dict.fromkeys(modalities, bright))
                rows.append({"file": name, "label": label, "split": split, "group": name})
    write_rows(folder, rows)
    return folder

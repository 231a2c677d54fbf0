"""The head that the benchmarks read: Colin27 on a grid of 256 × 256 × 180 at 1 mm."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from wetread.demo.head import write_head_series

ROOT = Path(__file__).resolve().parents[2]
COLIN27 = ROOT / ".cache/head/ch2.nii.gz"
BUNDLE = ROOT / "bundles/brain_mr_extraction"
NETWORKS = ROOT / "triton_models"
# Right-left, back-front, feet-head: 180 sagittal slices of 256 x 256.
SHAPE = (180, 256, 256)


def write_head(folder: Path) -> Path:
    """Write the head as a sagittal MR series under `folder`; gives the series' own folder."""
    image = nibabel.as_closest_canonical(nibabel.load(COLIN27))
    values = np.asarray(image.get_fdata(dtype=np.float32))
    padded = np.zeros(SHAPE, np.float32)
    start = [(have - want) // 2 for have, want in zip(values.shape, SHAPE, strict=True)]
    cut = values[
        tuple(slice(max(0, each), max(0, each) + n) for each, n in zip(start, SHAPE, strict=True))
    ]
    at = [max(0, -each) for each in start]
    padded[tuple(slice(each, each + n) for each, n in zip(at, cut.shape, strict=True))] = cut
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(start)
    nifti = folder / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(padded, affine), nifti)
    write_head_series(nifti, folder / "head")
    return folder / "head"

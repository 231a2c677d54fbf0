"""A worst case that is a folder of modalities is shown by one slice of each."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from wetread.models.classification import ClassifiedCase
from wetread.models.worst import classified_pictures


def test_the_modalities_stand_side_by_side(tmp_path: Path) -> None:
    """Two images of 20 × 30 pixels; the labels are no image."""
    (tmp_path / "head").mkdir()
    for name in ("t1", "ct", "labels"):
        image = np.random.default_rng(1).normal(size=(20, 30, 8)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / "head" / f"{name}.nii.gz")
    case = ClassifiedCase("head", "ill", "head", {"well": 0.9, "ill": 0.1}, {})
    html = classified_pictures(tmp_path, [case])
    [data] = re.findall(r"base64,([^\"]+)", html)
    assert Image.open(BytesIO(base64.b64decode(data))).size == (40, 30)

"""A gate is made of a bundle's own data, and measured on changed and on other images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from decathlon import name_of, write_decathlon
from tiny_model import NETWORK, TinyModel
from wetread.config import EmbeddedModel
from wetread.errors import InputError
from wetread.infer.base import no_progress
from wetread.infer.bundle import BundleModel, open_model
from wetread.models.gate import calibrate_gate
from wetread.models.perturb import PERTURBATIONS

TRAIN, VAL = 40, 20
BOX = np.s_[8:24, 10:36, 7:23]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two balls in noise, 60 times."""
    splits = {"train": list(range(TRAIN)), "val": list(range(TRAIN, TRAIN + VAL))}
    folder = tmp_path_factory.mktemp("data") / "balls"
    return write_decathlon(folder, TRAIN + VAL, splits, BOX)


@pytest.fixture(scope="module")
def model(tiny_ct: TinyModel) -> Iterator[BundleModel]:
    opened = open_model(NETWORK, EmbeddedModel(bundle=tiny_ct.bundle), tiny_ct.repository)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, Path, Path]:
    """More of the same; other NIfTI files, one a folder deeper; pictures, which are too thin."""
    root = tmp_path_factory.mktemp("others")
    same = write_decathlon(root / "same", 10, box=BOX)
    (root / "ramps/deeper").mkdir(parents=True)
    ramp = np.indices((24, 24, 24)).sum(axis=0).astype(np.float32)
    for name in ("a.nii.gz", "deeper/b.nii"):
        nibabel.save(nibabel.Nifti1Image(ramp, np.eye(4)), root / "ramps" / name)
    (root / "pictures").mkdir()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(root / "pictures/p.png")
    return same, root / "ramps", root / "pictures"


def test_val_passes_and_what_is_other_does_not(
    model: BundleModel, data: Path, others: tuple[Path, ...]
) -> None:
    found = calibrate_gate(model, data, others, no_progress)
    assert (found.gate.train_images, found.gate.val_cases) == (TRAIN, VAL)
    assert found.val_flagged == 0.0
    by_name = {each.name: each for each in found.others}
    assert {f"{kind}, severity 3" for kind in PERTURBATIONS} < set(by_name)
    assert by_name["spikes, severity 3"].flagged == 1.0
    same, ramps, pictures = (by_name[folder.name] for folder in others)
    # The cases of `same` are the first ten of the training.
    assert (same.count, same.flagged) == (10, 0.0)
    assert same.auroc < 0.5
    assert (ramps.count, ramps.flagged, ramps.auroc) == (2, 1.0, 1.0)
    assert (pictures.count, pictures.flagged, pictures.auroc) == (1, 1.0, 1.0)


def test_a_folder_without_images_is_refused(model: BundleModel, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        calibrate_gate(model, data, [tmp_path], no_progress)


def test_data_without_its_splits_are_too_few(model: BundleModel, tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "few", 4, {"train": [0, 1, 2], "val": [3]})
    assert (folder / "imagesTr" / name_of(3)).is_file()
    with pytest.raises(InputError, match="3 training images, a gate needs at least 20"):
        calibrate_gate(model, folder, [], no_progress)

"""The brain mask agrees with deepbet itself, in any orientation."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import ROOT
from wetread.config import EmbeddedModel
from wetread.errors import InputError
from wetread.infer.bundle import BundleModel, open_model
from wetread.infer.files import volume_from_nifti, write_nifti
from wetread.models.export import build_models, check_model

BUNDLE = ROOT / "bundles" / "brain_mr_extraction"
REPOSITORY = ROOT / ".cache" / "triton_models"

pytestmark = [
    pytest.mark.timeout(180),
    # MONAI announces changes of its own that do not concern a caller.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def nothing(_stage: str, _fraction: float) -> None:
    pass


@pytest.fixture(scope="module")
def head() -> Path:
    path = Path(os.environ.get("WETREAD_TEST_HEAD", ROOT / ".cache/head/ch2.nii.gz"))
    if not path.is_file():
        pytest.fail(f"{path} is not there: run `make test`, which fetches it")
    return path


@pytest.fixture(scope="module")
def model() -> Iterator[BundleModel]:
    build_models(BUNDLE, REPOSITORY, nothing)
    opened = open_model("brain", EmbeddedModel(bundle=BUNDLE), REPOSITORY)
    yield opened
    opened.close()


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_the_mask_is_that_of_deepbet(head: Path, model: BundleModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from deepbet.bet import BrainExtraction

        original = BrainExtraction(no_gpu=True)
        original.model.float()
        original.bbox_model.float()
        _, wanted, _ = original.run(nibabel.load(head))
    result = model.read(volume_from_nifti(head), nothing)
    assert dice(result.labelmap > 0, np.asarray(wanted.dataobj) > 0) >= 0.995
    assert set(result.seconds) == {"preprocess", "forward", "postprocess"}


def test_axes_in_another_order_give_the_same_mask_at_the_same_place(
    head: Path, model: BundleModel, tmp_path: Path
) -> None:
    image = nibabel.load(head)
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    straight = model.read(volume_from_nifti(head), nothing).labelmap
    volume = volume_from_nifti(tmp_path / "turned.nii.gz")
    write_nifti(tmp_path / "mask.nii.gz", model.read(volume, nothing).labelmap, volume)
    back = nibabel.as_closest_canonical(nibabel.load(tmp_path / "mask.nii.gz"))
    assert np.allclose(back.affine, nibabel.as_closest_canonical(image).affine)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(straight, image.affine))
    assert dice(np.asarray(back.dataobj) > 0, np.asarray(canonical.dataobj) > 0) >= 0.999


def test_an_image_of_one_value_is_refused(head: Path, model: BundleModel) -> None:
    volume = volume_from_nifti(head)
    flat = volume.with_array(np.full(volume.array.shape, 7.0, np.float32))
    with pytest.raises(InputError, match="no contrast"):
        model.read(flat, nothing)


def test_the_built_networks_keep_their_contract(model: BundleModel) -> None:
    checked = {each.network: each.figures.agreement for each in check_model(BUNDLE, REPOSITORY)}
    assert set(checked) == {"brain_mr_locator", "brain_mr_extraction"}
    assert min(checked.values()) >= 0.999

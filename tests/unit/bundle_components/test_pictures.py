"""Pictures and slices for networks of two dimensions: nothing stretched, nothing mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.pictures import (
    LoadPictured,
    ResizeSlicesd,
    ScaleSlicesd,
    read_picture,
)
from wetread.bundle_components.transforms import NoContrastError


def image(array: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.from_numpy(array.astype(np.float32)), affine=torch.eye(4))


def saved(array: np.ndarray, path: Path) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_black_and_white_are_the_bounds_of_the_window(tmp_path: Path) -> None:
    grey = np.array([[0, 255], [51, 255]], np.uint8)
    found = read_picture(saved(grey, tmp_path / "a.png"), (-160, 240))
    assert found.tolist() == [[-160.0, 240.0], [-80.0, 240.0]]


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    grey = np.array([[0, 65535], [257, 0]], np.uint16)
    found = read_picture(saved(grey, tmp_path / "a.png"))
    assert found.tolist() == [[0.0, 255.0], [1.0, 0.0]]


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("text")
    with pytest.raises(DataFolderError, match=r"a\.png: no picture"):
        read_picture(path)


def test_a_picture_is_one_slice(tmp_path: Path) -> None:
    path = saved(np.zeros((3, 5), np.uint8), tmp_path / "a.png")
    assert LoadPictured("image")({"image": str(path)})["image"].shape == (1, 1, 3, 5)


def test_each_slice_is_scaled_by_itself() -> None:
    slices = np.stack([np.linspace(0, 10, 16), np.linspace(-5, 1000, 16), np.full(16, 3.0)])
    found = ScaleSlicesd("image", 0, 100)({"image": image(slices.reshape(1, 3, 4, 4))})["image"]
    assert found.amin((0, 2, 3)).tolist() == [0.0, 0.0, 0.0]
    assert found.amax((0, 2, 3)).tolist() == [1.0, 1.0, 0.0]


def test_an_image_without_contrast_is_refused() -> None:
    with pytest.raises(NoContrastError, match=r"0 % and 100 %"):
        ScaleSlicesd("image", 0, 100)({"image": image(np.ones((1, 2, 4, 4)))})


def test_a_picture_is_padded_not_stretched() -> None:
    """A square of 20 pixels in 40 × 80 is one of 16 in 64 × 64, and stays in the middle."""
    array = np.zeros((1, 1, 40, 80))
    array[0, 0, 10:30, 30:50] = 1
    found = ResizeSlicesd("image", 64)({"image": image(array)})["image"][0, 0].numpy() > 0.5
    rows, columns = np.nonzero(found)
    assert found.shape == (64, 64)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (16, 16)
    assert (rows.mean(), columns.mean()) == (31.5, 31.5)


@pytest.mark.parametrize("shape", [(40, 81), (100, 33), (64, 64)])
def test_a_map_comes_back_to_where_it_was(shape: tuple[int, int]) -> None:
    """A broad hill has its top at the same pixel, in each slice."""
    rows, columns = np.indices(shape)
    tops = [(shape[0] // 3, shape[1] // 2), (shape[0] // 2, shape[1] // 4)]
    hills = [np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 200) for y, x in tops]
    step = ResizeSlicesd("image", 64)
    back = step.inverse(step({"image": image(np.stack(hills)[None])}))["image"]
    assert back.shape == (1, 2, *shape)
    for slice_, top in zip(back[0], tops, strict=True):
        found = np.unravel_index(int(slice_.argmax()), shape)
        assert np.abs(np.subtract(found, top)).max() <= 1

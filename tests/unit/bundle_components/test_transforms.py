"""The dictionary transforms of our own, by arithmetic on small images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, FillHoles, Invertd, KeepLargestConnectedComponent

from wetread.bundle_components.transforms import (
    CropToLocatedRegiond,
    NoContrastError,
    NothingFoundError,
    ScaleByPercentilesd,
    StandardizeIntensityd,
    ThresholdChanneld,
    WithinForegroundd,
    region_box,
    resize_nearest,
    standardize,
)


def image(*shape: int) -> MetaTensor:
    """Values 0, 1, 2, … with an affine of 2 mm."""
    values = torch.arange(float(np.prod(shape))).reshape(1, *shape)
    return MetaTensor(values, affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0])))


def test_percentiles_become_0_and_1_and_the_rest_is_clipped() -> None:
    """Of 0…999, 10 % is 99.9 and 90 % is 899.1."""
    scale = ScaleByPercentilesd("image", 10.0, 90.0, sample_shape=[10, 10, 10])
    found = scale({"image": image(10, 10, 10)})["image"].flatten()
    assert float(found[0]) == float(found[99]) == 0.0
    assert float(found[999]) == float(found[900]) == 1.0
    assert float(found[500]) == pytest.approx((500 - 99.9) / (899.1 - 99.9), abs=1e-6)


def test_percentiles_come_from_the_sampled_image() -> None:
    """One bright voxel that the sampling passes by does not count."""
    bright = image(8, 8, 8)
    bright[0, 2, 2, 2] = 1e6
    scale = ScaleByPercentilesd("image", 0.0, 100.0, sample_shape=[4, 4, 4])
    sample = resize_nearest(bright.as_tensor(), [4, 4, 4])
    assert float(sample.max()) < 1e6
    found = scale({"image": bright})["image"]
    assert int((found == 1).sum()) == int((bright >= sample.max()).sum())


def test_an_image_without_contrast_is_said_to_have_none() -> None:
    flat = MetaTensor(torch.full((1, 4, 4, 4), 7.0))
    scale = ScaleByPercentilesd("image", 0.5, 99.5, sample_shape=[4, 4, 4])
    with pytest.raises(NoContrastError, match=r"0\.5 % and 99\.5 % percentiles are 7 and 7"):
        scale({"image": flat})


def test_standardizing_gives_mean_and_deviation() -> None:
    found = StandardizeIntensityd("image", 0.449, 0.226)({"image": image(6, 6, 6)})["image"]
    assert float(found.mean()) == pytest.approx(0.449, abs=1e-5)
    assert float(found.std()) == pytest.approx(0.226, abs=1e-5)


def test_one_value_becomes_the_mean() -> None:
    found = standardize(torch.full((1, 3, 3), 5.0), 0.449, 0.226)
    assert np.allclose(found, 0.449)


def test_a_channel_above_the_threshold_is_the_mask() -> None:
    probabilities = torch.tensor([[0.9, 0.4], [0.1, 0.6]]).reshape(2, 1, 1, 2)
    found = ThresholdChanneld("pred", 1, 0.5)({"pred": MetaTensor(probabilities)})["pred"]
    assert found.dtype == torch.uint8
    assert found.tolist() == [[[[0, 1]]]]


def region(shape: tuple[int, ...], *box: slice) -> torch.Tensor:
    found = torch.zeros(shape, dtype=torch.bool)
    found[box] = True
    return found


def test_a_box_has_its_margin_and_ends_at_the_edge() -> None:
    """Planes 4…7 of 10 are 40…80 of 100; 10 % of 40 on each side; at the far edge it is cut."""
    found = region((10, 10, 10), slice(4, 8), slice(6, 10), slice(0, 10))
    box = region_box(found, (100, 100, 20), min_plane_fraction=0.02, margin=0.1)
    assert box == (slice(36, 84), slice(56, 100), slice(0, 20))


def test_planes_with_little_region_do_not_count() -> None:
    """A single voxel is 1 % of a plane of 10 × 10."""
    found = region((10, 10, 10), slice(3, 7), slice(3, 7), slice(3, 7))
    found[0, 5, 5] = True
    box = region_box(found, (10, 10, 10), min_plane_fraction=0.02, margin=0.0)
    assert box[0] == slice(3, 7)


def test_an_empty_region_is_said_to_be_so() -> None:
    with pytest.raises(NothingFoundError, match="no plane across axis 0"):
        region_box(region((4, 4, 4), slice(0, 0)), (8, 8, 8), 0.02, 0.1)


def brighter_than(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A locating network: channel 1 is what stands out after standardizing."""
    return lambda batch: torch.stack([batch[:, 0] <= value, batch[:, 0] > value], 1).float()


def crop(locator: Any, **changes: Any) -> CropToLocatedRegiond:
    settings = {
        "locator_shape": [10, 10, 10],
        "mean": 0.0,
        "std": 1.0,
        "channel": 1,
        "threshold": 0.5,
        "min_plane_fraction": 0.02,
        "margin": 0.0,
    }
    return CropToLocatedRegiond("image", locator, **{**settings, **changes})


def test_the_crop_is_the_largest_bright_region_and_is_undone() -> None:
    """A block of 6 × 8 × 4 voxels; the smaller one beside it does not count."""
    bright = torch.zeros(1, 20, 20, 20)
    bright[0, 4:10, 6:14, 8:12] = 1.0
    bright[0, 14:18, 14:18, 14:18] = 1.0
    start = MetaTensor(bright, affine=torch.eye(4))
    transform = crop(brighter_than(1.0))
    cropped = transform({"image": start})
    assert cropped["image"].shape == (1, 6, 8, 4)
    assert cropped["image"].affine[:3, 3].tolist() == [4.0, 6.0, 8.0]
    cropped["pred"] = cropped["image"]
    back = Invertd("pred", Compose([transform]), "image")(cropped)["pred"]
    assert back.shape == (1, 20, 20, 20)
    assert float(back.sum()) == 6 * 8 * 4


def test_a_locator_that_finds_nothing_is_said_to() -> None:
    with pytest.raises(NothingFoundError):
        crop(brighter_than(1e9))({"image": image(10, 10, 10)})


def fill() -> Compose:
    largest = KeepLargestConnectedComponent(applied_labels=[1])
    return Compose([largest, FillHoles(applied_labels=[1], connectivity=1)])


def hollow_mask() -> torch.Tensor:
    """A hollow cube of 5 with a hole of 27 voxels, and a speck in the corner."""
    mask = torch.zeros(1, 16, 18, 20, dtype=torch.uint8)
    mask[0, 4:9, 5:10, 6:11] = 1
    mask[0, 5:8, 6:9, 7:10] = 0
    mask[0, 15, 17, 19] = 1
    return mask


def test_holes_are_filled_within_the_foreground_as_in_the_whole() -> None:
    found = WithinForegroundd("pred", fill())({"pred": MetaTensor(hollow_mask())})["pred"]
    assert int(found.sum()) == 125
    assert np.array_equal(found, fill()(hollow_mask()))


def test_a_dent_at_the_edge_of_the_box_is_no_hole() -> None:
    """It opens to the plane of background around the foreground."""
    mask = torch.zeros(1, 9, 9, 9, dtype=torch.uint8)
    mask[0, 2:7, 2:7, 2:7] = 1
    mask[0, 2, 4, 4] = 0
    found = WithinForegroundd("pred", fill())({"pred": mask})["pred"]
    assert int(found.sum()) == 124


def test_foreground_at_the_image_s_edge_stays_within_the_image() -> None:
    mask = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    mask[0, 0:2] = 1
    found = WithinForegroundd("pred", fill())({"pred": mask})["pred"]
    assert np.array_equal(found, mask)


def test_an_empty_mask_stays_empty_and_the_given_one_is_not_changed() -> None:
    empty = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    assert not WithinForegroundd("pred", fill())({"pred": empty})["pred"].any()
    given = hollow_mask()
    WithinForegroundd("pred", fill())({"pred": given})
    assert np.array_equal(given, hollow_mask())

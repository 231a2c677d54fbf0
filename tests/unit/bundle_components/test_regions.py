"""A region finds its box, and a network that judges both whole and box learns from both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch

from wetread.bundle_components.classifiers import classifier
from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.regions import (
    RegionClassifier,
    RegionLoss,
    TaughtRegiond,
    box_around,
    cut,
    trained_classifier,
)

SIZE = 64


def disc(row: float, column: float, radius: float, size: int = 112) -> torch.Tensor:
    """Probability 1 in a disc, (1, 1, size, size)."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return inside.float()[None, None]


def network(*views: str) -> RegionClassifier:
    torch.manual_seed(3)
    return RegionClassifier("small_cnn", 4, SIZE, views=views or ("whole", "region"))


def test_the_box_is_a_little_wider_than_a_disc_and_around_it() -> None:
    """Radius 12 of 112 pixels, 1.3 times as wide: half a side of 0.279 of an image 2 wide."""
    middle, half = box_around(disc(80, 30, 12))
    assert middle[0].tolist() == pytest.approx([61 / 112 - 1, 161 / 112 - 1], abs=1e-3)
    assert half.item() == pytest.approx(1.3 * 24 / 112, rel=0.03)


@pytest.mark.parametrize("place", [(0, 0), (0, 111), (111, 55)])
def test_the_box_lies_in_the_image(place: tuple[int, int]) -> None:
    middle, half = box_around(disc(*place, 14))
    assert (middle.abs() + half <= 1 + 1e-6).all()


def test_without_a_region_the_box_is_the_whole_image() -> None:
    middle, half = box_around(torch.full((2, 1, 112, 112), 0.1))
    assert middle.tolist() == [[0, 0], [0, 0]]
    assert half.tolist() == [[1], [1]]


def test_what_is_cut_out_is_what_lies_in_the_box() -> None:
    """A box over rows 32 to 63 and columns 0 to 31 of 64, twice enlarged."""
    image = torch.arange(64.0).repeat(64, 1)[None, None] + 100 * torch.arange(64.0)[:, None]
    found = cut(image, torch.tensor([[-0.5, 0.5]]), torch.tensor([[0.5]]))
    inner = found[0, 0, 1:-1:2, 1:-1:2]
    assert inner[0, 0].item() == pytest.approx(100 * 32.25 + 0.25)
    assert inner[-1, -1].item() == pytest.approx(100 * 62.25 + 30.25)


def test_training_gives_the_region_too_and_evaluation_does_not() -> None:
    images = torch.rand(3, 1, SIZE, SIZE)
    found = network()
    logits, region = found.train()(images)
    assert (logits.shape, region.shape) == ((3, 4), (3, 1, SIZE // 2, SIZE // 2))
    assert found.eval()(images).shape == (3, 4)


def test_the_views_are_averaged() -> None:
    images = torch.rand(2, 1, SIZE, SIZE)
    whole, region, both = (network(*views).eval() for views in (["whole"], ["region"], []))
    with torch.no_grad():
        mean = (whole(images) + region(images)) / 2
        assert torch.allclose(both(images), mean, atol=1e-6)


def test_a_view_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match=r"whole, region, middle, not \['corner'\]"):
        network("corner")


@pytest.mark.filterwarnings("ignore")
def test_onnx_agrees_with_torch_for_any_batch(tmp_path: Path) -> None:
    found, images = network().eval(), torch.rand(5, 1, SIZE, SIZE)
    torch.onnx.export(
        found, (images[:1],), str(tmp_path / "model.onnx"), dynamo=False, opset_version=18,
        input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
    )  # fmt: skip
    onnx.checker.check_model(tmp_path / "model.onnx")
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(tmp_path / "model.onnx", "CPU", hint)
    with torch.no_grad():
        wanted = found(images).numpy()
    assert np.abs(compiled(images.numpy())[0] - wanted).max() < 1e-4


def test_the_answer_does_not_teach_the_segmenter_and_the_mask_does() -> None:
    found = network().train()
    images, target = torch.rand(2, 1, SIZE, SIZE), torch.ones(2, 2, SIZE, SIZE)
    for weight, learns in ((0.0, False), (1.0, True)):
        found.zero_grad()
        RegionLoss(weight)(found(images), target).backward()
        gradients = [each.grad for each in found.segmenter.parameters()]
        moved = any(each is not None and each.abs().max() > 0 for each in gradients)
        assert moved == learns


def test_the_class_is_learned_where_the_region_was_moved_out_of_the_picture() -> None:
    """Augmentation may leave nothing of the region; the class stands everywhere in the target."""
    target = torch.zeros(1, 2, SIZE, SIZE)
    target[:, 0, : SIZE // 2] = 3
    region = torch.full((1, 1, SIZE // 2, SIZE // 2), -9.0)
    right = RegionLoss(0.0, 0.0)((torch.tensor([[0.0, 0.0, 0.0, 9.0]]), region), target)
    wrong = RegionLoss(0.0, 0.0)((torch.tensor([[9.0, 0.0, 0.0, 0.0]]), region), target)
    assert right < 0.01 < wrong


class BrightCorner(torch.nn.Module):
    """Class 1 is as likely as the picture is bright, whatever else there is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(1, 1, 1, bias=False)
        torch.nn.init.ones_(self.features.weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        bright = self.features(image).mean((1, 2, 3))
        return torch.stack([-bright, bright], dim=1)


def test_the_region_is_where_the_teacher_looks() -> None:
    image = torch.zeros(1, SIZE, SIZE)
    image[0, :10, 50:] = 1
    taught = TaughtRegiond("image", BrightCorner(), "features", threshold=0.6)
    target = taught({"image": image, "label": 1})["target"]
    assert target.shape == (2, SIZE, SIZE)
    assert (target[0] == 1).all()
    assert torch.equal(target[1] > 0, image[0] > 0)
    normal = taught({"image": image, "label": 0})["target"]
    assert not normal.any()


def test_a_teacher_that_was_not_trained_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match=r"model\.pt is not there: train the bundle"):
        trained_classifier(str(tmp_path / "model.pt"), "small_cnn", 4, SIZE)
    torch.save(classifier("small_cnn", 4, SIZE).state_dict(), tmp_path / "model.pt")
    assert not trained_classifier(str(tmp_path / "model.pt"), "small_cnn", 4, SIZE).training

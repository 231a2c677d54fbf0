"""A segmenter whose region feeds a classifier, and how it learns where no lesion was ever drawn.

Images are (batch, 1, row, column) of 0..1. A place in the image is counted as `grid_sample` does:
−1 is its left or upper edge, 1 its right or lower.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import torch
from monai.config import KeysCollection
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import MapTransform
from monai.visualize import GradCAM
from torch import nn
from torch.nn import functional

from wetread.bundle_components.classifiers import classifier
from wetread.bundle_components.data import DataFolderError
from wetread.bundle_components.transforms import Data

VIEWS = ("whole", "region", "middle")
# The region is looked for in the image at half its size.
_COARSER = 2
# Pixels that are less probable do not pull at the box.
_LEAST = 0.25
# With less than this share of the image found, the box opens up towards the whole of it.
_SURE = 0.002
# Half the side of the smallest box, and how much wider it is than what was found.
_SMALLEST = 0.2
_WIDER = 1.3


class RegionClassifier(nn.Module):
    """A U-Net finds a region; one classifier judges several views of the image, and is averaged.

    The views are the whole image, the square box around the region, or for comparison a box of half
    the image's size in its `middle`. Where no region is found its box is the whole image. The
    classifier's answer does not teach the segmenter.

    In evaluation it gives (batch, class) logits; in training also the logits of the region,
    (batch, 1, row / 2, column / 2).
    """

    def __init__(
        self,
        backbone: str,
        classes: int,
        image_size: int,
        *,
        views: Sequence[str] = ("whole", "region"),
        filters: Sequence[int] = (8, 16, 32, 64),
        pretrained: bool = False,
        frozen_blocks: int = 0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not views or set(views) - set(VIEWS):
            raise ValueError(f"views are some of {', '.join(VIEWS)}, not {list(views)}")
        self.views = tuple(views)
        strides = [2] * (len(filters) - 1)
        self.segmenter = UNet(2, 1, 1, channels=filters, strides=strides, num_res_units=1)
        self.classifier = classifier(
            backbone,
            classes,
            image_size,
            pretrained=pretrained,
            frozen_blocks=frozen_blocks,
            dropout=dropout,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        region = self.segmenter(functional.avg_pool2d(image, _COARSER))
        seen = {
            "whole": lambda: image,
            "region": lambda: cut(image, *box_around(region.detach().sigmoid())),
            "middle": lambda: cut(image, *_middle(image)),
        }
        # As one batch, the whole image first: whoever watches a layer sees it once.
        logits = self.classifier(torch.cat([seen[view]() for view in self.views]))
        mean = logits.reshape(len(self.views), -1, logits.shape[-1]).mean(0)
        return (mean, region) if self.training else mean


def box_around(region: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle (batch, 2), as (x, y), and half the side (batch, 1) of a square around a region.

    `region` is (batch, 1, row, column), probabilities. The box is that of a disc with the region's
    first two moments, a little wider, and lies in the image.
    """
    weight = functional.relu(region[:, 0] - _LEAST)
    columns, rows = weight.sum(1), weight.sum(2)
    total = rows.sum(1, keepdim=True)
    found = [_moments(marginal, total) for marginal in (columns, rows)]
    middle = torch.cat([mean for mean, _ in found], dim=1)
    spread = torch.cat([deviation for _, deviation in found], dim=1).amax(1, keepdim=True)
    # A disc reaches two standard deviations far.
    half = (_WIDER * 2 * spread).clamp(_SMALLEST, 1.0)
    sure = (total / (weight.shape[1] * weight.shape[2] * _SURE)).clamp(0, 1)
    half = sure * half + (1 - sure)
    limit = 1 - half
    return torch.maximum(torch.minimum(sure * middle, limit), -limit), half


def _moments(marginal: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (batch, 1) of places weighted by `marginal` (batch, place)."""
    places = _places(marginal.shape[1], marginal)
    share = marginal / total.clamp(min=1e-6)
    mean = (share * places).sum(1, keepdim=True)
    variance = (share * (places - mean) ** 2).sum(1, keepdim=True)
    return mean, variance.clamp(min=0).sqrt()


def _places(length: int, like: torch.Tensor) -> torch.Tensor:
    """The middles of so many pixels between −1 and 1."""
    return (torch.arange(length, device=like.device, dtype=like.dtype) * 2 + 1) / length - 1


def _middle(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros_like(image[:, 0, 0, :2]), torch.full_like(image[:, 0, 0, :1], 0.5)


def cut(image: torch.Tensor, middle: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """What lies in the boxes of `box_around`, at the image's own size, by linear interpolation."""
    x = middle[:, :1] + half * _places(image.shape[3], image)
    y = middle[:, 1:] + half * _places(image.shape[2], image)
    rows, columns = y.shape[1], x.shape[1]
    grid = torch.stack(
        [x[:, None].expand(-1, rows, -1), y[:, :, None].expand(-1, -1, columns)], dim=-1
    )
    return functional.grid_sample(image, grid, align_corners=False)


class RegionLoss(nn.Module):
    """Cross-entropy of the classes, and `weight` times Dice and cross-entropy of the region.

    The target is that of `TaughtRegiond`, (batch, 2, row, column).
    """

    def __init__(self, weight: float = 1.0, label_smoothing: float = 0.05) -> None:
        super().__init__()
        self.weight = weight
        self.label_smoothing = label_smoothing
        self.region = DiceCELoss(sigmoid=True, batch=True)

    def forward(
        self, answer: tuple[torch.Tensor, torch.Tensor], target: torch.Tensor
    ) -> torch.Tensor:
        """The mean over the batch."""
        logits, region = answer
        label = target[:, 0].flatten(1).amax(1).long()
        wanted = functional.max_pool2d(target[:, 1:].float(), _COARSER)
        classes = functional.cross_entropy(logits, label, label_smoothing=self.label_smoothing)
        loss: torch.Tensor = classes + self.weight * self.region(region, wanted)
        return loss


class TaughtRegiond(MapTransform):
    """Add `target`, (2, row, column): the class number everywhere, and 1 where its region lies.

    No lesion was drawn, so a classifier that knows classes alone is the `teacher`: the region is
    where the Grad-CAM (Selvaraju et al., 2017) of the true class is at least `threshold` of its
    largest value, at `layer`. The class number `normal` has no region.
    """

    def __init__(
        self,
        keys: KeysCollection,
        teacher: nn.Module,
        layer: str,
        *,
        label: str = "label",
        target: str = "target",
        normal: int = 0,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(keys)
        self.label = label
        self.target = target
        self.normal = normal
        self.threshold = threshold
        self._cam = GradCAM(teacher.eval(), layer, postprocessing=lambda found: found)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            number = int(d[self.label])
            region = torch.zeros_like(d[key][0])
            if number != self.normal:
                image = d[key][None].clone().requires_grad_()
                found = torch.as_tensor(self._cam(image, class_idx=number)).detach()[0, 0]
                region = (found >= self.threshold * found.max().clamp(min=1e-6)).to(region)
            d[self.target] = torch.stack([torch.full_like(region, number), region])
        return d


def trained_classifier(weights: str, backbone: str, classes: int, image_size: int) -> nn.Module:
    """A classifier with the weights that its own bundle's training left.

    Raises DataFolderError if they are not there.
    """
    if not Path(weights).is_file():
        raise DataFolderError(f"{weights} is not there: train the bundle that it belongs to first")
    network = classifier(backbone, classes, image_size)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()

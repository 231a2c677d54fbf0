"""Classifiers of a lesion in several modalities of one volume, of which some may be absent.

Input is (batch, modality, x, y, z), float32, all modalities on one grid. An absent modality is a
channel that is 0 everywhere: a real one never is, once it is normalised. Class 0 is "no lesion".

In evaluation a network gives (batch, class) logits of the whole image. In training it gives
(batch, answer, class, 1 + place): its own answer first, then those of its deep supervision (Lee et
al., Deeply-Supervised Nets, AISTATS 2015); of each the whole image first, then every place of the
last grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from torch import nn
from torch.nn import functional

_NORM = ("instance", {"affine": True})
# How far each depth goes down. A place of the last grid is 4 voxels long; what it sees is 15.
_STRIDES = (2, 2, 1)
_IGNORED = -100


class LesionHead(nn.Module):
    """What is at each place, and from it what is in the whole image.

    The whole image has as much of a class as the place that has most of it, against "no lesion".
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.places = nn.Conv3d(features, classes, kernel_size=1)
        self.whole = nn.Linear(classes, classes)
        nn.init.eye_(self.whole.weight)
        nn.init.zeros_(self.whole.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, feature, …) → (batch, class, 1 + place)."""
        places = self.places(features)
        most = (places - places[:, :1]).amax((2, 3, 4))
        return torch.cat([self.whole(most)[:, :, None], places.flatten(2)], dim=2)


class EarlyFusionClassifier(nn.Module):
    """One encoder that sees all modalities as channels: the plain way, to compare with.

    With one modality it is the classifier of that modality alone. Deep supervision is at its middle
    depth.
    """

    def __init__(
        self, modalities: int, classes: int, filters: Sequence[int] = (16, 32, 64)
    ) -> None:
        super().__init__()
        self.encoder = encoder(modalities, filters)
        self.heads = nn.ModuleList(LesionHead(count, classes) for count in filters[:0:-1])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the module."""
        deepest_first = _through(self.encoder, image)[:0:-1]
        return _answers(self.heads, deepest_first, self.training)


class FusionClassifier(nn.Module):
    """One encoder a modality; at each depth a trunk takes up what those that are present see.

    What goes to the trunk is the mean and the maximum over the present modalities, voxel by voxel
    (after Havaei et al., HeMIS, MICCAI 2016, with the maximum in place of the variance), so any
    number of them may be absent. Deep supervision is at the middle depth of the trunk, and at each
    encoder: it has to recognise by itself what its modality shows.
    """

    def __init__(self, modalities: int, classes: int, filters: Sequence[int] = (8, 16, 32)) -> None:
        super().__init__()
        first, *later = filters
        self.encoders = nn.ModuleList(encoder(1, filters) for _ in range(modalities))
        self.down = encoder(first, later, _STRIDES[1:])
        widths = [2 * first, *(3 * count for count in later)]
        self.mix = nn.ModuleList(
            Convolution(3, width, count, kernel_size=1, norm=_NORM, act="relu", bias=False)
            for width, count in zip(widths, filters, strict=True)
        )
        self.heads = nn.ModuleList(LesionHead(count, classes) for count in filters[:0:-1])
        self.own_heads = nn.ModuleList(LesionHead(filters[-1], classes) for _ in range(modalities))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the module. Without any modality the answer is that of no features at all."""
        present = presence(image)
        seen = [_through(each, image[:, [place]]) for place, each in enumerate(self.encoders)]
        answers = _answers(self.heads, self._trunk(seen, present)[:0:-1], self.training)
        if not self.training:
            return answers
        # An absent modality cannot know: constant logits, from which nothing is learned.
        alone = [
            head(features[-1]) * present[:, [place], None]
            for place, (head, features) in enumerate(zip(self.own_heads, seen, strict=True))
        ]
        return torch.cat([answers, torch.stack(alone, dim=1)], dim=1)

    def _trunk(
        self, seen: Sequence[Sequence[torch.Tensor]], present: torch.Tensor
    ) -> list[torch.Tensor]:
        depths: list[torch.Tensor] = []
        for depth, mix in enumerate(self.mix):
            fused = fuse([features[depth] for features in seen], present)
            before = [self.down[depth - 1](depths[-1])] if depth else []
            depths.append(mix(torch.cat([fused, *before], dim=1)))
        return depths


def presence(image: torch.Tensor) -> torch.Tensor:
    """(batch, modality, …) → (batch, modality), 1.0 where a modality is there and 0.0 where not."""
    return (image.abs().amax((2, 3, 4)) > 0).to(image.dtype)


def fuse(features: Sequence[torch.Tensor], present: torch.Tensor) -> torch.Tensor:
    """Mean and maximum over the present modalities: (batch, 2 × feature, …).

    `features` are (batch, feature, …), one a modality and not negative, so that the 0 of an absent
    one is never the maximum. Without any, all is 0.
    """
    masked = torch.stack(list(features), dim=1) * present[:, :, None, None, None, None]
    count = present.sum(1).clamp(min=1.0)[:, None, None, None, None]
    return torch.cat([masked.sum(1) / count, masked.amax(1)], dim=1)


class DeeplySupervisedLoss(nn.Module):
    """Cross-entropy of every answer, of the whole image and place by place.

    The network's own answer counts 1, the others together `weight`; the places of an answer count
    as much as its whole image, and lesion and healthy places the same. Logits are as the networks
    give them in training, `lesion` is a map (batch, 1, x, y, z) of class numbers, 0 elsewhere.
    """

    def __init__(self, weight: float = 0.5, label_smoothing: float = 0.05) -> None:
        super().__init__()
        self.weight = weight
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, lesion: torch.Tensor) -> torch.Tensor:
        """The mean over the batch."""
        label = lesion.flatten(1).amax(1).long()
        places = place_labels(lesion)
        own, *others = [self._loss(answer, label, places) for answer in logits.unbind(1)]
        return own + self.weight * torch.stack(others).mean() if others else own

    def _loss(
        self, answer: torch.Tensor, label: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        whole = functional.cross_entropy(
            answer[:, :, 0], label, label_smoothing=self.label_smoothing
        )
        each = functional.cross_entropy(
            answer[:, :, 1:], places, ignore_index=_IGNORED, reduction="none"
        )
        kinds = [each[places > 0], each[places == 0]]
        return whole + sum(0.5 * kind.sum() / max(1, kind.numel()) for kind in kinds)


def place_labels(lesion: torch.Tensor) -> torch.Tensor:
    """(batch, 1, x, y, z) class numbers → (batch, place), for places of 4 voxels a side.

    A place with at least half as much of the lesion as that with most of it has its class, one
    without any is 0; what lies between, at the edge, is `_IGNORED`.
    """
    share = functional.avg_pool3d((lesion > 0).float(), 4, ceil_mode=True).flatten(1)
    label = lesion.flatten(1).amax(1, keepdim=True).long().expand(share.shape)
    inside = (share > 0) & (share >= 0.5 * share.amax(1, keepdim=True))
    edge = torch.where(share > 0, _IGNORED, 0)
    return torch.where(inside, label, edge)


def encoder(
    channels: int, filters: Sequence[int], strides: Sequence[int] = _STRIDES
) -> nn.ModuleList:
    """One convolution a depth."""
    before = [channels, *filters[:-1]]
    return nn.ModuleList(
        Convolution(
            3, one, other, strides=stride, kernel_size=3, norm=_NORM, act="relu", bias=False
        )
        for one, other, stride in zip(before, filters, strides, strict=True)
    )


def _through(stages: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """What each stage gives, from the first to the last."""
    found = []
    for stage in stages.children():
        image = stage(image)
        found.append(image)
    return found


def _answers(
    heads: nn.ModuleList, depths: Sequence[torch.Tensor], is_training: bool
) -> torch.Tensor:
    """The heads' answers to their depths, the deepest first, or its logits of the whole image."""
    if not is_training:
        own: torch.Tensor = heads[0](depths[0])[:, :, 0]
        return own
    return torch.stack([head(depth) for head, depth in zip(heads, depths, strict=True)], dim=1)

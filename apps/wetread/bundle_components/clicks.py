"""Clicks of a reader as channels beside an image, and clicks as a reader would make them.

After DeepEdit (Diaz-Pinto et al., DeCaF 2022): one network answers without a click, and better with
every one, because it was trained with and without them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.engines import default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import MapTransform, distance_transform_edt

from wetread.bundle_components.transforms import Data, plain


def click_map(
    points: torch.Tensor, shape: Sequence[int], sigma: float, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """1 at each point (n, 3), in voxels, falling off as a Gaussian of `sigma` voxels; (x, y, z).

    Nothing but 0 without a point.
    """
    found = torch.zeros(tuple(shape), device=device)
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    for point in points.tolist():
        x, y, z = (
            torch.exp(-((axis - at) ** 2) / (2 * sigma**2))
            for axis, at in zip(axes, point, strict=True)
        )
        found = torch.maximum(found, x[:, None, None] * y[None, :, None] * z[None, None, :])
    return found


class ClickError(ValueError):
    """A click that is no voxel of the image."""


class ClickChannelsd(MapTransform):
    """(1, x, y, z) → (1 + labels, x, y, z): a channel of clicks for each label.

    Clicks stand in the data under the name of their label, as [[i, j, k], …] in voxels of the image
    as it lies in its file; none are needed. They follow the image through whatever turned it.

    Raises ClickError for a click that is no three numbers, or outside the image.
    """

    def __init__(self, keys: KeysCollection, labels: Sequence[str], sigma: float = 2.0) -> None:
        super().__init__(keys)
        self.labels = labels
        self.sigma = sigma

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            shape = tuple(image.shape[1:])
            maps = [
                click_map(self._points(d.get(label) or [], image, label), shape, self.sigma)
                for label in self.labels
            ]
            together = torch.cat([plain(image), torch.stack(maps).to(image.device)])
            d[key] = MetaTensor(
                together, meta=image.meta, applied_operations=image.applied_operations
            )
        return d

    def _points(self, clicks: Any, image: MetaTensor, label: str) -> torch.Tensor:
        found = np.asarray(clicks, float).reshape(-1, 3) if _is_points(clicks) else None
        if found is None:
            raise ClickError(f"clicks of {label!r} must be lists of three numbers")
        original = np.asarray(image.meta["original_affine"], float)
        now = np.asarray(image.affine, float)
        shape = [int(each) for each in image.meta["spatial_shape"]]
        if np.any(found < -0.5) or np.any(found > np.asarray(shape) - 0.5):
            raise ClickError(f"a click of {label!r} lies outside the image of {shape} voxels")
        ones = np.ones((len(found), 1))
        moved = np.concatenate([found, ones], 1) @ original.T @ np.linalg.inv(now).T
        return torch.as_tensor(moved[:, :3], dtype=torch.float32)


class ClickBatch:
    """A `prepare_batch` for MONAI's engines that clicks where the network errs.

    The network first answers without clicks. In `share` of the images, 1 to `most` clicks are then
    laid at random into what it missed of a label, each label as often as it errs there. With
    `fixed`, every image gets that many, each at the deepest point of the largest error that the
    clicks before have left, as a careful reader would: that is for validation. `inferer` is for
    images of other shapes than the network takes. With `weighted`, the label gets a second channel:
    how near a click each voxel is, from 0 to 1, for a ClickLoss.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        labels: int,
        sigma: float = 2.0,
        share: float = 0.5,
        most: int = 6,
        fixed: int | None = None,
        inferer: Inferer | None = None,
        weighted: bool = False,
    ) -> None:
        self.network = network
        self.labels = labels
        self.sigma = sigma
        self.share = share
        self.most = most
        self.fixed = fixed
        self.inferer = inferer or SimpleInferer()
        self.weighted = weighted

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        image, label, *others = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        given = image[:, :1]
        shape = (given.shape[0], self.labels, *given.shape[2:])
        clicks = torch.zeros(shape, device=given.device)
        rounds = self.fixed if self.fixed is not None else 1
        for _ in range(rounds):
            answer = self._answer(torch.cat([given, clicks], 1))
            for number in range(given.shape[0]):
                self._click(clicks[number], answer[number], label[number, 0])
        if self.weighted:
            label = torch.cat([label, clicks.amax(1, keepdim=True)], 1)
        return (torch.cat([given, clicks], 1), label, *others)

    def _answer(self, x: torch.Tensor) -> torch.Tensor:
        """The likeliest label of each voxel, (batch, x, y, z)."""
        training = self.network.training
        self.network.eval()
        with torch.no_grad():
            answer: torch.Tensor = self.inferer(x, self.network).argmax(1)
        self.network.train(training)
        return answer

    def _click(self, clicks: torch.Tensor, answer: torch.Tensor, label: torch.Tensor) -> None:
        if self.fixed is not None:
            point = deepest_error(answer, label)
            points = [point] if point else []
        elif float(torch.rand(())) < self.share:
            count = int(torch.randint(1, self.most + 1, ()))
            points = random_errors(answer, label, count)
        else:
            points = []
        for channel, place in points:
            one = torch.as_tensor([place], dtype=torch.float32)
            made = click_map(one, answer.shape, self.sigma, clicks.device)
            clicks[channel] = torch.maximum(clicks[channel], made)


class ClickLoss(torch.nn.Module):
    """A loss, and beside it the cross-entropy near the clicks, so that none is overheard.

    The few voxels around a click hardly move the loss of a whole image. The target is (batch, 2, x,
    y, z): the label, and how near a click each voxel is, as a weighted ClickBatch gives it.
    """

    def __init__(self, loss: torch.nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight

    def forward(
        self, pred: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor
    ) -> torch.Tensor:
        """Both, as one number; `pred` may be the list of a network with deep supervision."""
        label, near = target[:, :1], target[:, 1]
        whole: torch.Tensor = self.loss(pred, label)
        finest = pred if isinstance(pred, torch.Tensor) else pred[0]
        each = torch.nn.functional.cross_entropy(finest, label[:, 0].long(), reduction="none")
        return whole + self.weight * (each * near).sum() / near.sum().clamp(min=1.0)


Click = tuple[int, tuple[int, ...]]


def random_errors(answer: torch.Tensor, label: torch.Tensor, count: int) -> list[Click]:
    """Up to `count` voxels in which the answer is wrong, each with its true label."""
    wrong = torch.nonzero(answer != label)
    if not len(wrong):
        return []
    chosen = wrong[torch.randint(len(wrong), (count,))]
    return [(int(label[tuple(place)]), tuple(place.tolist())) for place in chosen]


def deepest_error(answer: torch.Tensor, label: torch.Tensor) -> Click | None:
    """The voxel farthest inside what was missed most, with its true label; None if all is right."""
    wrong = answer != label
    if not bool(wrong.any()):
        return None
    values, counts = torch.unique(label[wrong], return_counts=True)
    missed = int(values[counts.argmax()])
    inside = (wrong & (label == missed)).cpu().numpy()
    # An error at the edge of the image is no deeper for ending there.
    depth = distance_transform_edt(np.pad(inside, 1)[None])[0][1:-1, 1:-1, 1:-1]
    place = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return missed, tuple(int(each) for each in place)


def load_grown(network: torch.nn.Module, path: str | Path, prefix: str = "") -> None:
    """Load weights of a network that had fewer input channels; the new ones begin at 0.

    So the network answers at first as the other did. Of the file only what begins with `prefix`.

    Raises RuntimeError if anything else than the number of input channels differs.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    own = network.state_dict()
    found = {}
    for name, value in state.items():
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            wanted = own.get(short)
            found[short] = value if wanted is None else _grown(value, wanted)
    network.load_state_dict(found)


def _grown(value: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    fewer = value.ndim > 1 and value.shape[1] < wanted.shape[1]
    if not fewer or value.shape[0] != wanted.shape[0] or value.shape[2:] != wanted.shape[2:]:
        return value
    grown = torch.zeros_like(wanted)
    grown[:, : value.shape[1]] = value
    return grown


def _is_points(clicks: Any) -> bool:
    return isinstance(clicks, Sequence) and all(
        isinstance(each, Sequence)
        and len(each) == 3
        and all(isinstance(value, int | float) for value in each)
        for each in clicks
    )

"""How a set of images covers another, in the space of a network's own features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import SimpleInferer

from wetread.bundle_components.uncertainty import Inferer, encoders_of, evaluating, placed


class Cover:
    """Points, (image, feature), and how far each is from the nearest centre.

    The centres are what is labelled, and what was taken since.
    """

    def __init__(
        self, names: Sequence[str], points: torch.Tensor, centres: torch.Tensor | None = None
    ) -> None:
        self.names = names
        self.points = points
        self.taken: list[int] = []
        self._nearest = None if centres is None else torch.cdist(points, centres).amin(1)

    @property
    def has_centre(self) -> bool:
        """Whether anything is labelled or taken."""
        return self._nearest is not None

    @property
    def left(self) -> list[int]:
        """The places of those that are not taken."""
        return [each for each in range(len(self.names)) if each not in self.taken]

    def distances(self) -> torch.Tensor:
        """Of every point from the nearest centre; from the mean of all points without any."""
        if self._nearest is not None:
            return self._nearest
        return (self.points - self.points.mean(0)).norm(dim=1)

    def values(self) -> torch.Tensor:
        """The larger, the better to take: far from centres, or near to the mean without any."""
        found = self.distances() if self.has_centre else -self.distances()
        found = found.clone()
        found[self.taken] = -math.inf
        return found

    def take(self, place: int) -> None:
        """Make it a centre."""
        self.taken.append(place)
        own = (self.points - self.points[place]).norm(dim=1)
        self._nearest = own if self._nearest is None else torch.minimum(self._nearest, own)

    def said(self, place: int) -> str:
        """For a reader."""
        distance = float(self.distances()[place])
        if not self.has_centre:
            return f"nothing is labelled, and its features lie {distance:.3g} from the mean of all"
        centre = "labelled or chosen" if self.taken else "labelled"
        return f"its features lie {distance:.3g} from those of the nearest {centre} image"


def features(
    network: torch.nn.Module,
    image: torch.Tensor,
    inferer: Inferer | None = None,
    layers: Sequence[str] = (),
) -> torch.Tensor:
    """(feature,) in double precision on the CPU; of several windows, their mean.

    Raises AcquisitionError, see `encoders_of`.
    """
    found: dict[int, list[torch.Tensor]] = {}

    def keep(place: int, output: Any) -> None:
        deepest = output[-1] if isinstance(output, (list, tuple)) else output
        found.setdefault(place, []).append(deepest.double().flatten(2).mean(2))

    hooks = [
        part.register_forward_hook(lambda _part, _input, output, place=place: keep(place, output))
        for place, part in enumerate(encoders_of(network, layers))
    ]
    try:
        with torch.no_grad(), evaluating(network):
            (inferer or SimpleInferer())(placed(network, image)[None], network)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([torch.cat(found[place]).mean(0) for place in sorted(found)]).cpu()

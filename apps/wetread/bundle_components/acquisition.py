"""Which image to annotate next: strategies, and for each chosen image its score and its reason.

An image is a prepared tensor, (channel, …), or what gives one when it is called, by its id. Where
images and labels are kept is not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from wetread.bundle_components.coverage import Cover, features
from wetread.bundle_components.uncertainty import (
    AcquisitionError,
    Dropout,
    Ensemble,
    Flips,
    Inferer,
    Uncertainty,
    Way,
    uncertainty,
)

__all__ = [
    "AcquisitionError",
    "Choice",
    "Dropout",
    "Ensemble",
    "Epistemic",
    "First",
    "Flips",
    "Hybrid",
    "Images",
    "Random",
    "Representative",
    "Strategy",
]

Images = Mapping[str, torch.Tensor | Callable[[], torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Choice:
    """An image to annotate.

    A higher `score` was better when it was chosen; scores of two rankings do not compare. `reason`
    is a clause for a reader, with the numbers.
    """

    image_id: str
    score: float
    reason: str


class Strategy(Protocol):
    """One way to choose."""

    def rank(self, candidates: Images, labelled: Images, count: int | None = None) -> list[Choice]:
        """The `count` best candidates, or all, the best first.

        To take several at once is to take them one by one, each as labelled for the next.
        Raises AcquisitionError if the network is not of the kind that the strategy asks for.
        """


@dataclass(frozen=True, slots=True)
class Random:
    """In an order that only `seed` and the ids decide: it stays when others are taken away."""

    seed: int = 0

    def rank(self, candidates: Images, labelled: Images, count: int | None = None) -> list[Choice]:
        """See `Strategy`."""
        drawn = {each: self._number(each) for each in candidates}
        reason = f"drawn from {_images(len(drawn))} with seed {self.seed}"
        ordered = sorted(drawn, key=lambda each: -drawn[each])
        return [Choice(each, drawn[each], reason) for each in ordered[:count]]

    def _number(self, image_id: str) -> float:
        digest = hashlib.sha256(f"{self.seed} {image_id}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


@dataclass(frozen=True, slots=True)
class First:
    """In the order of their ids."""

    def rank(self, candidates: Images, labelled: Images, count: int | None = None) -> list[Choice]:
        """See `Strategy`."""
        total = len(candidates)
        return [
            Choice(
                each, float(-place), f"number {place + 1} of {_images(total)} in the order of names"
            )
            for place, each in enumerate(sorted(candidates)[:count])
        ]


@dataclass(frozen=True, slots=True)
class Epistemic:
    """Where several answers of the network differ most, by their mutual information.

    See `Uncertainty` for the figure, and `Dropout`, `Flips` and `Ensemble` for the ways. `known`
    keeps what was found by id: give an empty one whenever the weights change.
    """

    network: torch.nn.Module
    way: Way = field(default_factory=Dropout)
    inferer: Inferer | None = None
    known: MutableMapping[str, Uncertainty] = field(default_factory=dict)

    def rank(self, candidates: Images, labelled: Images, count: int | None = None) -> list[Choice]:
        """See `Strategy`."""
        found = self.measured(candidates)
        ordered = sorted(found, key=lambda each: (-found[each].information, each))
        return [
            Choice(each, found[each].information, self._reason(found[each], place, len(found)))
            for place, each in enumerate(ordered[:count])
        ]

    def measured(self, candidates: Images) -> dict[str, Uncertainty]:
        """Of every candidate, by id."""
        for each, image in candidates.items():
            if each not in self.known:
                self.known[each] = uncertainty(self.network, _loaded(image), self.way, self.inferer)
        return {each: self.known[each] for each in candidates}

    def agreement(self, found: Uncertainty) -> str:
        """What to say of one image."""
        who = self.way.what(self.network)
        if not found.voxels:
            return f"{who} find nothing in it"
        return f"{who} agree with a Dice of {found.agreement:.2f} on it"

    def _reason(self, found: Uncertainty, place: int, count: int) -> str:
        if not found.voxels:
            return f"{self.agreement(found)}, and such images come first"
        return (
            f"{self.agreement(found)} and differ by {found.information:.3f} nats a voxel, "
            f"{_place(place, 'most', count)}"
        )


@dataclass(frozen=True, slots=True)
class Representative:
    """Far from all that is labelled, in the space of the encoder's features.

    The greedy k-centre of core-set selection (Sener and Savarese, ICLR 2018): each next image is
    the one whose Euclidean distance to the nearest labelled or already chosen one is the largest.
    Features are the outputs of the encoder's deepest level, their mean over space, those of the
    members of a `MeanOfNetworks` side by side. Where nothing is labelled, the first is the image
    nearest to the mean. `known` keeps features by id, as in `Epistemic`; `layers` is as there.
    """

    network: torch.nn.Module
    inferer: Inferer | None = None
    layers: tuple[str, ...] = ()
    known: MutableMapping[str, torch.Tensor] = field(default_factory=dict)

    def rank(self, candidates: Images, labelled: Images, count: int | None = None) -> list[Choice]:
        """See `Strategy`."""
        if not candidates:
            return []
        cover, chosen = self.cover(candidates, labelled), []
        for _ in range(_at_most(count, candidates)):
            values = cover.values()
            place = int(values.argmax())
            chosen.append(
                Choice(cover.names[place], float(values[place]), self._reason(cover, place))
            )
            cover.take(place)
        return chosen

    def cover(self, candidates: Images, labelled: Images) -> Cover:
        """How the candidates, of which there is at least one, lie to what is labelled."""
        points, centres = (
            [self._features(each, image) for each, image in images.items()]
            for images in (candidates, labelled)
        )
        return Cover(
            list(candidates), torch.stack(points), torch.stack(centres) if centres else None
        )

    def _features(self, image_id: str, image: torch.Tensor | Callable[[], torch.Tensor]) -> Any:
        if image_id not in self.known:
            self.known[image_id] = features(self.network, _loaded(image), self.inferer, self.layers)
        return self.known[image_id]

    def _reason(self, cover: Cover, place: int) -> str:
        kind = "farthest" if cover.has_centre else "nearest"
        return f"{cover.said(place)}, the {kind} of {_images(len(cover.left))}{_left(cover)}"


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Unsure of it and unlike what is labelled: both ranks together.

    Each image has two shares of the candidates that are left: u, by how many it exceeds in
    `Epistemic`'s mutual information, and d, in `Representative`'s distance to the nearest labelled
    or chosen image; 0 is the least, 1 the most, equal ones share their place. The next one has the
    largest

        weight * u + (1 - weight) * d

    To want both is the idea of suggestive annotation (Yang et al., MICCAI 2017), which covers a
    shortlist of the unsure by similarity. Ranks (Borda's count) need no length of a
    shortlist, no common unit of nats and distances, and work for one image at a time as well.
    """

    epistemic: Epistemic
    representative: Representative
    weight: float = 0.5

    def rank(self, candidates: Images, labelled: Images, count: int | None = None) -> list[Choice]:
        """See `Strategy`."""
        if not candidates:
            return []
        measured = self.epistemic.measured(candidates)
        cover, chosen = self.representative.cover(candidates, labelled), []
        unsure = torch.tensor([found.information for found in measured.values()])
        for _ in range(_at_most(count, candidates)):
            left = cover.left
            shares = _shares(unsure[left]), _shares(cover.values()[left])
            both = self.weight * shares[0] + (1 - self.weight) * shares[1]
            best = int(both.argmax())
            place = left[best]
            agreement = self.epistemic.agreement(measured[cover.names[place]])
            unsurer, farther = (float(each[best]) for each in shares)
            reason = (
                f"{agreement}, less sure than {unsurer:.0%} of {len(left) - 1} others"
                f"{_left(cover)}, and {cover.said(place)}, farther than {farther:.0%} of them"
            )
            chosen.append(Choice(cover.names[place], float(both[best]), reason))
            cover.take(place)
        return chosen


def _shares(values: torch.Tensor) -> torch.Tensor:
    """Of each value, the share of the others that are less; of equal ones, half of them count."""
    if len(values) == 1:
        return torch.ones(1)
    less = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1) - 1
    return (less + equal / 2) / (len(values) - 1)


def _loaded(image: torch.Tensor | Callable[[], torch.Tensor]) -> torch.Tensor:
    return image if isinstance(image, torch.Tensor) else image()


def _at_most(count: int | None, candidates: Images) -> int:
    return len(candidates) if count is None else min(count, len(candidates))


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _left(cover: Cover) -> str:
    return " that are left" if cover.taken else ""


def _place(place: int, word: str, total: int) -> str:
    """The most of 34 images, or the 2nd most."""
    number = place + 1
    ending = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"the {word if not place else f'{number}{ending} {word}'} of {_images(total)}"

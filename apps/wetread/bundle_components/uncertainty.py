"""How unsure a segmenter is of one image: several answers to it that ought to agree.

Images are prepared, (channel, x, y, z) or (channel, row, column); answers are probabilities,
(class, …), class 0 the background. The network is asked in evaluation and left as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from monai.inferers import SimpleInferer

from wetread.bundle_components.networks import MeanOfNetworks
from wetread.bundle_components.transforms import plain

# Called as MONAI's inferers are: with a batch and what answers it.
Inferer = Callable[..., Any]
_DROPOUT = (
    torch.nn.Dropout,
    torch.nn.Dropout1d,
    torch.nn.Dropout2d,
    torch.nn.Dropout3d,
    torch.nn.AlphaDropout,
    torch.nn.FeatureAlphaDropout,
)


class AcquisitionError(ValueError):
    """The network is not of the kind that a way to choose images asks for."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far several answers to one image are apart.

    `information` is the mean mutual information between voxel and answer in nats, over the `voxels`
    where at least one answer finds something: 0 where all say the same, at most the logarithm of
    the number of classes. `agreement` is the mean Dice over pairs of answers and classes.

    Mutual information is what of the entropy comes from the answers' differing (Houlsby et al.,
    2011; Gal et al., 2017); a border that all answers find blurred adds nothing, and would not be
    learned by one more label either. The mean is taken where something is found, since over the
    whole volume it is the size of structure and crop that it measures: nearly all voxels are
    background that every answer is sure of.

    Where no answer finds anything there is no such place. A network that misses a structure
    altogether is then as sure as one that rightly finds none; such an image counts as the least
    sure there is (the logarithm of the number of classes), for a person to look at: to say that it
    is empty takes a moment.
    """

    information: float
    agreement: float
    voxels: int


def uncertainty_of(answers: Iterable[torch.Tensor]) -> Uncertainty:
    """Compare answers, (class, …) probabilities each; see `Uncertainty` for the figures."""
    maps: list[torch.Tensor] = []
    total, entropies = torch.zeros(()), torch.zeros(())
    for answer in answers:
        maps.append(answer.argmax(0))
        total, entropies = total + answer, entropies + _entropy(answer)
    found = torch.stack(maps).amax(0) > 0
    classes, voxels = total.shape[0], int(found.sum())
    if not voxels:
        return Uncertainty(math.log(classes), 1.0, 0)
    information = (_entropy(total / len(maps)) - entropies / len(maps))[found].mean()
    # Of equal answers the difference may be a rounding below 0.
    return Uncertainty(max(float(information), 0.0), _agreement(maps, classes), voxels)


def mean_dice(one: torch.Tensor, other: torch.Tensor, classes: int) -> float:
    """Of two label maps over the classes but the background; 1 for one that neither has."""
    values = []
    for value in range(1, classes):
        first, second = one == value, other == value
        either = int(first.sum()) + int(second.sum())
        values.append(2 * int((first & second).sum()) / either if either else 1.0)
    return sum(values) / len(values)


def _agreement(maps: Sequence[torch.Tensor], classes: int) -> float:
    pairs = [
        mean_dice(one, other, classes)
        for number, one in enumerate(maps)
        for other in maps[number + 1 :]
    ]
    return sum(pairs) / len(pairs) if pairs else 1.0


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """In nats, of each voxel."""
    return -torch.special.xlogy(probabilities, probabilities).sum(0)


class Way(Protocol):
    """A way to get several answers to one image.

    `what` is the subject of a sentence, in the plural: "the 2 networks".
    """

    def what(self, network: torch.nn.Module) -> str:
        """Who answers."""

    def answers(
        self, network: torch.nn.Module, image: torch.Tensor, inferer: Inferer
    ) -> Generator[torch.Tensor]:
        """Their probabilities, one after the other."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Forward passes with dropout (Gal and Ghahramani, ICML 2016).

    A network that has dropout layers is asked with them switched on, and all else in evaluation.
    One that has none gets dropout of whole channels, with probability `rate`, on what its encoder
    gives to its decoder: hooks that are taken off again. It has not learned to do without channels,
    so that the passes then show how much its answer hangs on single ones; they are no draws from a
    posterior, as they would be of a network that was trained with dropout. `layers` names the parts
    whose output is thinned, where the network has no part `encoder`.

    Every image is asked with the same `seed`; torch's own random numbers go on as if nothing was
    drawn. `at_once` passes go through the network as one batch.
    """

    passes: int = 8
    rate: float = 0.2
    layers: tuple[str, ...] = ()
    seed: int = 0
    at_once: int = 1

    def what(self, _network: torch.nn.Module) -> str:
        """See `Way`."""
        return f"{self.passes} forward passes with dropout"

    def answers(
        self, network: torch.nn.Module, image: torch.Tensor, inferer: Inferer
    ) -> Generator[torch.Tensor]:
        """See `Way`."""
        with _drawn_from(self.seed, image), _dropout_on(network, self.rate, self.layers):
            yield from _asked(network, [image] * self.passes, inferer, self.at_once)


@dataclass(frozen=True, slots=True)
class Flips:
    """Answers to the image, to its mirror images, and to each of them under noise.

    Test-time augmentation (Wang et al., Neurocomputing 2019). It shows where the answer hangs on
    what should not matter, which is not the same as what one more label would teach. `axes` are
    spatial ones, from 0, along which a mirror image of the anatomy is possible: by default the
    first, left to right after `Orientationd` to RAS. Not for a network that tells left from right.
    `noise` is its standard deviation in units of the prepared image.
    """

    axes: tuple[int, ...] = (0,)
    noise: float = 0.05
    seed: int = 0
    at_once: int = 1

    def what(self, _network: torch.nn.Module) -> str:
        """See `Way`."""
        return f"{2 * (1 + len(self.axes))} answers to it, its mirror image and both under noise"

    def answers(
        self, network: torch.nn.Module, image: torch.Tensor, inferer: Inferer
    ) -> Generator[torch.Tensor]:
        """See `Way`."""
        mirrors: list[list[int]] = [[], *([axis + 1] for axis in self.axes)]
        with _drawn_from(self.seed, image):
            noisy = image + self.noise * torch.randn_like(image)
        turned = [(each.flip(axes), axes) for each in (image, noisy) for axes in mirrors]
        with evaluating(network):
            found = _asked(network, [each for each, _ in turned], inferer, self.at_once)
            for answer, (_, axes) in zip(found, turned, strict=True):
                yield answer.flip(axes)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The answers of the members of a `MeanOfNetworks` (query by committee; Seung et al., 1992)."""

    def what(self, network: torch.nn.Module) -> str:
        """See `Way`."""
        return f"the {len(_members(network))} networks"

    def answers(
        self, network: torch.nn.Module, image: torch.Tensor, inferer: Inferer
    ) -> Generator[torch.Tensor]:
        """See `Way`."""
        with evaluating(network):
            for member in _members(network):
                yield from _asked(member, [image], inferer, 1)


def uncertainty(
    network: torch.nn.Module, image: torch.Tensor, way: Way, inferer: Inferer | None = None
) -> Uncertainty:
    """Ask about one image, (channel, …), in one way.

    `inferer` is as the bundle's own; without it the whole image goes through the network at once.
    Raises AcquisitionError if the network is not of the kind that the way asks for.
    """
    asked = way.answers(network, placed(network, image), inferer or SimpleInferer())
    with torch.no_grad(), closing(asked) as answers:
        return uncertainty_of(answers)


def placed(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The image where the network's parameters are, without MONAI's metadata."""
    parameter = next(network.parameters(), None)
    return plain(image) if parameter is None else plain(image).to(parameter.device)


def encoders_of(network: torch.nn.Module, layers: Sequence[str] = ()) -> list[torch.nn.Module]:
    """The parts called `encoder` of a network and of all its members, or those of dotted `layers`.

    Raises AcquisitionError if there is none.
    """
    try:
        found = [network.get_submodule(name) for name in layers]
    except AttributeError as error:
        raise AcquisitionError(f"{type(network).__name__}: {error}") from error
    named = [each for name, each in network.named_modules() if name.split(".")[-1] == "encoder"]
    if found or named:
        return found or named
    parts = ", ".join(name for name, _ in network.named_children())
    raise AcquisitionError(
        f"{type(network).__name__} has no part called encoder, only {parts or 'none'}; "
        "name its layers"
    )


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """The network in evaluation; afterwards each of its parts is in the state that it was in."""
    states = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in states:
            module.training = training


@contextmanager
def _dropout_on(network: torch.nn.Module, rate: float, layers: Sequence[str]) -> Iterator[None]:
    with evaluating(network):
        own = [each for each in network.modules() if isinstance(each, _DROPOUT) and each.p > 0]
        if own:
            for each in own:
                each.train()
            yield
            return
        hooks = [
            part.register_forward_hook(lambda _part, _input, output: _thinned(output, rate))
            for part in encoders_of(network, layers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _thinned(output: Any, rate: float) -> Any:
    """Tensors, (batch, channel, …), without some of their channels; the others make up for it."""
    if isinstance(output, (list, tuple)):
        return [_thinned(each, rate) for each in output]
    shape = (*output.shape[:2], *(1 for _ in output.shape[2:]))
    kept = torch.rand(shape, device=output.device) >= rate
    return output * kept / (1 - rate)


@contextmanager
def _drawn_from(seed: int, image: torch.Tensor) -> Iterator[None]:
    devices = [image.device] if image.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _members(network: torch.nn.Module) -> list[torch.nn.Module]:
    if isinstance(network, MeanOfNetworks):
        return list(network.networks)
    raise AcquisitionError(
        f"{type(network).__name__} is no MeanOfNetworks: it has no members that could disagree"
    )


def _asked(
    network: torch.nn.Module, images: Sequence[torch.Tensor], inferer: Inferer, at_once: int
) -> Generator[torch.Tensor]:
    for start in range(0, len(images), at_once):
        yield from probabilities(
            inferer(torch.stack(list(images[start : start + at_once])), network)
        )


def probabilities(answer: Any) -> torch.Tensor:
    """Of a network's (batch, class, …) logits, the first if it gives several; one is foreground."""
    logits = answer[0] if isinstance(answer, (list, tuple)) else answer
    if logits.shape[1] > 1:
        return torch.softmax(logits.float(), dim=1)
    foreground = torch.sigmoid(logits.float())
    return torch.cat([1 - foreground, foreground], dim=1)

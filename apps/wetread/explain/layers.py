"""The layers of a network by what they give: which one Grad-CAM looks at, and feature maps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wetread.errors import ConfigError

_CONVOLUTIONS = (
    torch.nn.Conv1d,
    torch.nn.Conv2d,
    torch.nn.Conv3d,
    torch.nn.ConvTranspose2d,
    torch.nn.ConvTranspose3d,
)


@dataclass(frozen=True, slots=True)
class LayerOutput:
    """A convolution by its name in the network, and the shape (*spatial) of what it gives."""

    name: str
    shape: tuple[int, ...]

    @property
    def places(self) -> int:
        """How many pixels or voxels that is."""
        return int(np.prod(self.shape))


class _Copy(torch.nn.Module):
    """The same values in memory of their own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


def convolutions(network: torch.nn.Module, image: torch.Tensor) -> list[LayerOutput]:
    """The convolutions that give more than one place, in the order in which they run."""
    found: list[LayerOutput] = []

    def note(name: str, output: torch.Tensor) -> None:
        if int(np.prod(output.shape[2:])) > 1:
            found.append(LayerOutput(name, tuple(output.shape[2:])))

    with _watching(network, note), torch.no_grad():
        network(image)
    return found


def default_layer(network: torch.nn.Module, image: torch.Tensor) -> str:
    """The last convolution of those with the fewest places: a classifier's last, a U-Net's bottom.

    What normalisation makes of it gave less faithful maps, measured on chest X-rays. Raises
    ConfigError if the network has none.
    """
    found = convolutions(network, image)
    if not found:
        raise ConfigError(
            "the network has no convolution that can be watched",
            hint="choose a method that needs none: occlusion, lime, saliency",
        )
    fewest = min(layer.places for layer in found)
    return [layer.name for layer in found if layer.places == fewest][-1]


def feature_maps(
    network: torch.nn.Module, image: torch.Tensor
) -> Mapping[str, NDArray[np.float32]]:
    """What a network makes of `image`, size by size: name → (channel, *spatial).

    Of the convolutions that give one size, that with the most channels, the last of them; in the
    order in which they run. Raises ConfigError if the network has no convolution.
    """
    outputs: dict[tuple[int, ...], tuple[str, NDArray[np.float32]]] = {}

    def note(name: str, output: torch.Tensor) -> None:
        shape = tuple(output.shape[2:])
        fewer = shape in outputs and output.shape[1] < len(outputs[shape][1])
        if int(np.prod(shape)) > 1 and not fewer:
            outputs.pop(shape, None)
            outputs[shape] = name, output[0].detach().float().numpy().copy()

    with _watching(network, note), torch.no_grad():
        network(image)
    if not outputs:
        raise ConfigError(
            "the network has no convolution that can be watched",
            hint="choose another method: occlusion, lime, saliency",
        )
    return dict(outputs.values())


def watchable(network: torch.nn.Module, layer: str, image: torch.Tensor) -> torch.nn.Module:
    """A copy of the network of which `layer` can be watched, forward and backward.

    Nothing is done in place in it: what is overwritten has no gradient. `layer` becomes a sequence
    whose first member, `layer + ".0"`, is the layer itself.

    Raises ConfigError if there is no such layer, or if it runs more than once for `image`: its
    output and its gradient would be those of different runs.
    """
    copied = without_inplace(network)
    named = dict(copied.named_modules())
    if layer not in named:
        known = ", ".join(name for name, each in named.items() if isinstance(each, _CONVOLUTIONS))
        raise ConfigError(f"no layer {layer!r}", hint=f"convolutions: {known}")
    runs = _runs(named[layer], copied, image)
    if runs != 1:
        raise ConfigError(f"layer {layer!r} runs {runs} times", hint="name one that runs once")
    copied.set_submodule(layer, torch.nn.Sequential(named[layer], _Copy()))
    return copied


def without_inplace(network: torch.nn.Module) -> torch.nn.Module:
    """A copy of the network whose activations leave their input alone."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return copied


def _runs(module: torch.nn.Module, network: torch.nn.Module, image: torch.Tensor) -> int:
    """How often `module` runs when `network` looks at `image`."""
    outputs: list[object] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        with torch.no_grad():
            network(image)
    finally:
        handle.remove()
    return len(outputs)


@contextmanager
def _watching(
    network: torch.nn.Module, note: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """While open, `note` is told the name and the output of every convolution that runs."""

    def hook(name: str) -> Callable[[torch.nn.Module, object, torch.Tensor], None]:
        return lambda _module, _inputs, output: note(name, output)

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in network.named_modules()
        if isinstance(module, _CONVOLUTIONS)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

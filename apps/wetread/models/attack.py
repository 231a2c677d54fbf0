"""The smallest changes that mislead a network the most: FGSM and PGD.

Both know the network and change its prepared image by at most ε in each voxel. What they drive it
away from is its own answer to the unchanged image, not the label: the same for every kind of
network, without a reference on the prepared grid, and nothing of the label leaks into the image
(Kurakin et al., ICLR 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser

from wetread.infer.description import main_network
from wetread.models.original import load_original
from wetread.models.perturb import level_of, span_of

Forward = Callable[[torch.Tensor], torch.Tensor]
"""From (batch, channel, …) to logits (batch, class, …)."""

# ε as a part of the image's range; 0.004 is a grey level of 256.
EPSILONS: Mapping[str, tuple[float, ...]] = {
    "fgsm": (0.0025, 0.005, 0.01, 0.02, 0.04),
    "pgd": (0.0025, 0.005, 0.01, 0.02, 0.04),
}
STEPS = 10
# So that the steps may reach any place within ε, as Madry et al. choose them.
_STEP = 2.5


def torch_forward(bundle: Path) -> Forward:
    """The bundle's network in torch within its own inferer, with gradients.

    Raises ConfigError as `load_original`.
    """
    module = load_original(bundle, main_network(bundle)).module.requires_grad_(requires_grad=False)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs/inference.json"))
    inferer = parser.get_parsed_content("inferer")

    def forward(batch: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = inferer(batch, module)
        return logits

    return forward


def attack(forward: Forward, prepared: torch.Tensor, kind: str, severity: int) -> torch.Tensor:
    """The prepared image, (channel, …), changed by "fgsm" or "pgd" at a severity of 0 to 5.

    Raises ConfigError for another kind or severity.
    """
    share = level_of(EPSILONS, kind, severity)
    image = prepared.detach().float()[None]
    if share is None:
        return image[0].clone()
    epsilon = share * span_of(np.asarray(image))
    with torch.no_grad():
        answer = forward(image).argmax(dim=1)
    found = fgsm(forward, image, answer, epsilon)
    return (found if kind == "fgsm" else pgd(forward, image, answer, epsilon, start=found))[0]


def fgsm(
    forward: Forward, image: torch.Tensor, answer: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """One step of ε along the sign of the gradient (Goodfellow et al., ICLR 2015).

    `image` is (batch, channel, …), `answer` the class of each element, (batch, …).
    """
    return image + epsilon * _gradient(forward, image, answer)[0].sign()


def pgd(
    forward: Forward,
    image: torch.Tensor,
    answer: torch.Tensor,
    epsilon: float,
    start: torch.Tensor,
) -> torch.Tensor:
    """Ten steps along the sign of the gradient, each put back within ε (Madry et al., ICLR 2018).

    From `start`, and with the largest loss of all that were seen, `start` among them.
    """
    current, best, worst_loss = start, start, -float("inf")
    for _ in range(STEPS):
        gradient, loss = _gradient(forward, current, answer)
        if loss > worst_loss:
            best, worst_loss = current, loss
        moved = current + _STEP * epsilon / STEPS * gradient.sign()
        current = torch.clamp(moved, image - epsilon, image + epsilon)
    return current if loss_of(forward, current, answer) > worst_loss else best


def loss_of(forward: Forward, image: torch.Tensor, answer: torch.Tensor) -> float:
    """The mean cross-entropy of the network's logits to `answer`."""
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(forward(image), answer))


def _gradient(
    forward: Forward, image: torch.Tensor, answer: torch.Tensor
) -> tuple[torch.Tensor, float]:
    asked = image.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = torch.nn.functional.cross_entropy(forward(asked), answer)
    (gradient,) = torch.autograd.grad(loss, asked)
    return gradient, float(loss.detach())

"""Networks whose weights come from an installed package, and several that answer as one."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


class PackagedFileError(RuntimeError):
    """A file that an installed package should carry is absent, or is not the file expected."""


def packaged_file(distribution: str, file: str, sha256: str) -> Path:
    """The path of `file` (as in the wheel's RECORD) of an installed package, without importing it.

    Raises PackagedFileError if the package or the file is absent or its SHA-256 differs.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError as error:
        raise PackagedFileError(
            f"the package {distribution} is not installed; it carries {file}"
        ) from error
    paths = [Path(str(item.locate())) for item in files if item.as_posix() == file]
    if not paths or not paths[0].is_file():
        raise PackagedFileError(f"{distribution} {metadata.version(distribution)} has no {file}")
    found = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    if found != sha256:
        raise PackagedFileError(f"{paths[0]} has the SHA-256 {found}, expected {sha256}")
    return paths[0]


def packaged_torchscript(distribution: str, file: str, sha256: str) -> torch.nn.Module:
    """The TorchScript module in `file` of an installed package, on the CPU, for evaluation.

    Raises PackagedFileError, see `packaged_file`.
    """
    path = packaged_file(distribution, file, sha256)
    with warnings.catch_warnings():
        # torch announces an end to TorchScript; packages still carry their weights in it.
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is", DeprecationWarning)
        module: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")
    # Weights may be stored in half precision; traced code wants the type of its input.
    return module.eval().float()


class MeanOfNetworks(torch.nn.Module):
    """Several networks of one task, whose probabilities are averaged.

    In evaluation: (batch, channel, …) → (batch, class, …), logarithms of the mean probability, from
    which a softmax makes it again. In training a list of all answers, for `EachNetworkLoss`: they
    learn side by side, and do not know of each other.
    """

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)

    def forward(self, image: torch.Tensor) -> Any:
        """See the class."""
        answers = [network(image) for network in self.networks]
        if self.training:
            return answers
        # A tiny share keeps the logarithm of a probability of 0 finite.
        mean = torch.stack([torch.softmax(each, dim=1) for each in answers]).mean(0)
        return torch.log(mean.clamp(min=1e-8))


class EachNetworkLoss(torch.nn.Module):
    """The mean of `loss` over the networks of a `MeanOfNetworks`."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, answers: Sequence[Any], target: torch.Tensor) -> torch.Tensor:
        """The mean over networks."""
        return torch.stack([self.loss(answer, target) for answer in answers]).mean()

"""Networks with one fault each, for a bundle to name by dotted path."""

from __future__ import annotations

import torch


class _Ball(torch.nn.Module):
    """Channel 1 is above 0.5 where the value is above 0.6."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = torch.nn.Parameter(torch.tensor(0.6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = torch.sigmoid(20 * (x - self.threshold))
        return torch.cat([1 - inside, inside], 1)


class Whole(_Ball):
    """Nothing is wrong with it."""


class Shifted(_Ball):
    """Its threshold is 0.05 higher in ONNX: Dice falls."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - 0.05 if torch.onnx.is_in_onnx_export() else x)


class Paler(_Ball):
    """Probabilities are 0.01 from those in torch, on the same side of 0.5: only the mean tells."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = super().forward(x)
        return 0.98 * output + 0.01 if torch.onnx.is_in_onnx_export() else output


class OneChannelShifted(_Ball):
    """One probability, a low step whose place differs in ONNX: only Dice tells."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        threshold = self.threshold + 0.01 * torch.onnx.is_in_onnx_export()
        return 0.5 + 0.05 * torch.tanh(1e4 * (x - threshold))


class NotANumber(_Ball):
    """The square root of what may be negative."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(super().forward(x) - 0.5)


class TwoAnswers(_Ball):
    """A pair, as networks with deep supervision give."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = super().forward(x)
        return output, output


class Half(_Ball):
    """An answer in half precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).half()


class OneLength(_Ball):
    """Takes any length in torch; what is traced keeps the one it was traced with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = [int(size) for size in x.shape]
        return super().forward(x.reshape(sizes))


class NoSuchOperator(_Ball):
    """Uses an operator that ONNX has not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(super().forward(x))


class TooLargeForHalf(_Ball):
    """On the way it reaches a million, and comes back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.relu(x * 1e6) / 1e6)


class Halves(torch.nn.Module):
    """Class 1 if the lower half of a picture of 64 x 64 is brighter, by convolutions.

    `outlier` puts a channel beside it that is a hundred thousand times as large and counts for
    nothing: in 8 bits for both together, nothing is left of the other.
    """

    def __init__(self, *, outlier: bool = False) -> None:
        super().__init__()
        self.smooth = torch.nn.Conv2d(1, 2, 4, stride=4, bias=False)
        self.smooth.weight.data[0] = 1 / 16
        self.smooth.weight.data[1] = 1e5 if outlier else 1 / 16
        self.mix = torch.nn.Conv2d(2, 1, 1)
        self.mix.weight.data[:] = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
        self.mix.bias.data[:] = 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = self.mix(self.smooth(x)).reshape(-1, 2, 128).mean(2)
        below = 10 * (means[:, 1:] - means[:, :1])
        return torch.cat([torch.zeros_like(below) + 0.1, below], 1)

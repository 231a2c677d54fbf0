"""Training on images that mislead the network, as an option of a bundle's `train.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines import default_prepare_batch


class AdversarialBatch:
    """A `prepare_batch` for MONAI's trainer that makes some batches harder, within ε.

    Before the network learns from a batch, it is moved by `epsilon` (in units of the prepared
    image) along the sign of the gradient of `loss` to the batch's own label: adversarial training
    by FGSM (Goodfellow et al., ICLR 2015), with half of the batches left as they are. 0 is off:
    then the batch is MONAI's own. Which batches are chosen follows from torch's seed.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Callable[[Any, torch.Tensor], torch.Tensor],
        epsilon: float = 0.0,
        share: float = 0.5,
    ) -> None:
        if epsilon < 0 or not 0 <= share <= 1:
            raise ValueError(f"epsilon {epsilon} must be at least 0, share {share} from 0 to 1")
        self.network = network
        self.loss = loss
        self.epsilon = epsilon
        self.share = share

    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        prepared = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        if self.epsilon == 0 or float(torch.rand(())) >= self.share:
            return prepared
        image, label, *others = prepared
        return (self._harder(image, label), label, *others)

    def _harder(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        asked = image.detach().clone().requires_grad_()
        with torch.enable_grad():
            loss = self.loss(self.network(asked), label)
        # Only of the image: the network's own gradients stay those of its next step.
        (gradient,) = torch.autograd.grad(loss, asked)
        return image + self.epsilon * gradient.sign()

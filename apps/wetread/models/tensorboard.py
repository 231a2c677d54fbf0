"""What TensorBoard shows of a training besides scalars: the network, what it sees and says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from wetread.bundle_components.transforms import plain

Floats = NDArray[np.float32]


def add_pictures(
    trainer: Engine, evaluator: Engine, network: torch.nn.Module, folder: Path
) -> None:
    """The graph of the network and a training image once, and a validation case every epoch.

    An image is shown by its middle slice, 0 to 1. Where a case has a mask, the label's and the
    network's stand beside the image.
    """
    writer = SummaryWriter(str(folder))

    def first() -> None:
        image = _first_case(trainer.state.batch)["image"]
        _add_graph(writer, network, image[None])
        writer.add_image("training image", _grey(image), 0, dataformats="HW")
        writer.flush()

    def validated() -> None:
        case = _first_case(evaluator.state.output)
        tiles = [_grey(case["image"]), *(_classes(case[key]) for key in ("label", "pred"))]
        same = [tile for tile in tiles if tile.shape == tiles[0].shape]
        epoch = trainer.state.epoch
        writer.add_image("validation case", np.hstack(same), epoch, dataformats="HW")
        writer.flush()

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), first)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED(once=1), validated)
    trainer.add_event_handler(Events.COMPLETED, writer.close)


def _first_case(cases: Any) -> dict[str, torch.Tensor]:
    """Of what MONAI's engines keep: one dictionary a case."""
    case: dict[str, torch.Tensor] = cases[0]
    return case


def _add_graph(writer: SummaryWriter, network: torch.nn.Module, image: torch.Tensor) -> None:
    was_training = network.training
    network.eval()
    with warnings.catch_warnings():
        # Tracing warns of every branch that depends on a shape.
        warnings.simplefilter("ignore")
        writer.add_graph(network, plain(image).to(next(network.parameters()).device))
    network.train(was_training)


def _middle(volume: Floats) -> Floats:
    """The middle slice of the last axis of (x, y, z), or the picture (row, column) itself."""
    return volume[..., volume.shape[-1] // 2] if volume.ndim == 3 else volume


def _grey(image: torch.Tensor) -> Floats:
    """The first channel's middle slice from 0 to 1."""
    shown = _middle(np.asarray(plain(image).detach().cpu()[0], np.float32))
    low, high = float(shown.min()), float(shown.max())
    return np.asarray((shown - low) / max(high - low, 1e-6), np.float32)


def _classes(answer: torch.Tensor) -> Floats:
    """(class, …) as one picture: the number of the class as a share of the highest."""
    values = np.asarray(plain(torch.as_tensor(answer)).detach().cpu(), np.float32)
    if values.ndim < 3:
        return np.zeros((0, 0), np.float32)
    share = values.argmax(0) / max(len(values) - 1, 1)
    return _middle(np.asarray(share, np.float32))

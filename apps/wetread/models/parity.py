"""The accuracy gate: what is to be served answers as the network in torch does, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from wetread.errors import InferenceError, ModelContractError
from wetread.infer.description import NetworkSpec
from wetread.infer.fixed_input import fixed_input
from wetread.models.original import Original
from wetread.models.record import Figures
from wetread.triton.configs import Profile

Batch = NDArray[np.float32]

# Of an axis of any length, the batch axis and the others: another than it is built at.
CHECKED_LENGTHS = (2, 96)
# An axis of any length that no inferer fixes is tried up to this: 256³ takes minutes in torch.
_LONG = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a form may be from the original, see `Figures`."""

    agreement: float
    mean_difference: float = float("inf")
    share_of_spread: float = float("inf")


# Of probabilities, on average; single voxels on an edge differ more, which the agreement judges.
FLOAT32 = Limits(agreement=0.999, mean_difference=0.001)
REDUCED = Limits(agreement=0.99, share_of_spread=0.05)


@dataclass(frozen=True, slots=True)
class Question:
    """An input, (batch, channel, …), and what the original makes of it."""

    batch: Batch
    wanted: Batch


def fixed_batches(spec: NetworkSpec, profile: Profile, *, within: bool = False) -> list[Batch]:
    """A ball, and noise from 0 to 1 in the smallest and in the largest shape, always the same.

    With `within` the ball, too, has a shape of the profile, beyond which an engine takes nothing.
    """
    usual = replace(spec, input=replace(spec.input, shape=profile.usual))
    ball = fixed_input(usual if within else spec, CHECKED_LENGTHS)
    shapes = dict.fromkeys((profile.shortest, _longest_tried(profile)))
    noise = [np.random.default_rng(8).random(shape, np.float32) for shape in shapes]
    return [ball, *noise]


def _longest_tried(profile: Profile) -> tuple[int, ...]:
    pairs = zip(profile.shortest, profile.longest, strict=True)
    return tuple(high if low == high else min(high, max(low, _LONG)) for low, high in pairs)


def questions_of(original: Original, batches: Iterable[Batch]) -> list[Question]:
    """Ask the original. Raises ModelContractError if it takes one not, or gives no number."""
    return [Question(batch, _answer(original, batch)) for batch in batches]


def _answer(original: Original, batch: Batch) -> Batch:
    spec = original.spec
    try:
        with torch.no_grad():
            output = original.module(torch.from_numpy(batch))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelContractError(
            f"network {spec.name} does not take {list(batch.shape)} in torch: {first_line(error)}",
            hint="correct the input shape in configs/export.json of the bundle",
        ) from error
    if not isinstance(output, torch.Tensor) or output.dtype != torch.float32:
        kind = output.dtype if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelContractError(
            f"network {spec.name} gives {kind}, not one tensor of float32",
            hint="let the network of inference.json give its one answer, in float32",
        )
    found: Batch = output.numpy()
    check_output(spec, found)
    return found


def compare(
    spec: NetworkSpec, form: str, run: Callable[[Batch], Batch], questions: Iterable[Question]
) -> Figures:
    """Ask `run` the same, and say how far its answers are, all of them together.

    `form` names it in errors. Raises ModelContractError if it does not run, or gives no number.
    """
    tally = _Tally()
    for question in questions:
        try:
            found = run(question.batch)
        except InferenceError as error:
            raise ModelContractError(
                f"network {spec.name} does not run as {form} on {list(question.batch.shape)}: "
                f"{first_line(error)}",
                hint="give export.json the only shape that it takes; check its operators",
            ) from error
        check_output(spec, found, form)
        tally.add(question.wanted, found)
    return tally.figures


class _Tally:
    """Sums over all answers."""

    def __init__(self) -> None:
        self._count = self._difference = self._sum = self._squares = 0.0
        self._same = self._labelled = 0

    def add(self, wanted: Batch, found: Batch) -> None:
        self._count += wanted.size
        self._difference += float(np.abs(found - wanted).sum(dtype=np.float64))
        self._sum += float(wanted.sum(dtype=np.float64))
        self._squares += float(np.square(wanted).sum(dtype=np.float64))
        one, other = _labels(wanted), _labels(found)
        if wanted.ndim == 2:
            self._same += 2 * int((one == other).sum())
            self._labelled += 2 * one.size
        else:
            self._same += 2 * int(((one == other) & (one > 0)).sum())
            self._labelled += int((one > 0).sum()) + int((other > 0).sum())

    @property
    def figures(self) -> Figures:
        mean = self._difference / self._count
        variance = self._squares / self._count - (self._sum / self._count) ** 2
        spread = max(variance, 0.0) ** 0.5
        agreement = self._same / self._labelled if self._labelled else 1.0
        return Figures(mean, mean / spread if spread else 0.0, agreement)


def _labels(output: Batch) -> NDArray[np.integer]:
    """Of every voxel, or of every image."""
    one = output.shape[1] == 1
    return (output[:, 0] > 0.5).astype(np.uint8) if one else output.argmax(1)


def check_output(spec: NetworkSpec, output: Batch, form: str = "") -> None:
    """Raise ModelContractError if it has another shape than declared, or what is no number."""
    wanted = openvino.PartialShape(list(spec.output.shape))
    where = f" as {form}" if form else ""
    if not wanted.compatible(openvino.PartialShape(list(output.shape))):
        raise ModelContractError(
            f"network {spec.name} gives {list(output.shape)}{where}, export.json says {wanted}",
            hint="correct configs/export.json of the bundle",
        )
    if not np.isfinite(output).all():
        raise ModelContractError(
            f"network {spec.name} gives NaN or infinite values{where}",
            hint="check its weights, and that it computes in float32",
        )


def check_figures(spec: NetworkSpec, form: str, figures: Figures, limits: Limits) -> None:
    """Raise ModelContractError, with the figures, if they are beyond the limits."""
    refused = [
        f"{what} {found:.5g}, allowed is {limit:g}"
        for what, found, limit, bad in (
            (
                "agreement",
                figures.agreement,
                limits.agreement,
                figures.agreement < limits.agreement,
            ),
            (
                "mean difference",
                figures.mean_difference,
                limits.mean_difference,
                figures.mean_difference > limits.mean_difference,
            ),
            (
                "mean difference as a share of the spread",
                figures.share_of_spread,
                limits.share_of_spread,
                figures.share_of_spread > limits.share_of_spread,
            ),
        )
        if bad
    ]
    if refused:
        raise ModelContractError(
            f"network {spec.name} as {form} is not what it is in torch: {'; '.join(refused)}",
            hint="it was not installed; check the network's operators, or serve it in float32",
        )


def first_line(error: Exception) -> str:
    """Of its message."""
    return str(error).strip().partition("\n")[0]

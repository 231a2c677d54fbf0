"""From a volume to the explanation of what a model says about it, on the volume's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import highdicom
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from wetread.errors import ConfigError, InputError
from wetread.explain.faithfulness import (
    Faithfulness,
    Randomisation,
    check_randomisation,
    measure_faithfulness,
)
from wetread.explain.methods import attribute
from wetread.explain.question import Question, ask_classifier, ask_segmenter
from wetread.explain.settings import Settings
from wetread.infer.base import Progress, no_progress
from wetread.infer.bundle import BundleModel
from wetread.infer.description import NetworkSpec, main_network
from wetread.models.original import load_original
from wetread.results import FindingsResult, Segment

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]
# Of a volume of which a classifier reads each slice: those that speak most for the target.
MOST_SLICES = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of a volume, and the questions that ask why.

    `probability` is that of the class for the whole series, as the model reports it; of a segment
    it is the mean over its voxels. `questions` are by their slice, from 0, for a classifier; for a
    segmenter there is one, and its place is −1.
    """

    label: str
    probability: float
    prepared: MetaTensor
    questions: Mapping[int, Question]

    @property
    def is_segment(self) -> bool:
        """Whether it is one segment, and not a class."""
        return -1 in self.questions

    @property
    def question(self) -> Question:
        """The one question, or that about the slice which speaks most for the target."""
        return next(iter(self.questions.values()))


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an answer rests on.

    `maps` has a (row, column) for each slice of the volume that was asked about, on its own grid;
    `masks` where the segment is, in the same slices, None for a classifier. `faithfulness` and
    `randomisation` are those of the first question, where they were measured.
    """

    label: str
    probability: float
    method: str
    maps: Mapping[int, Floats]
    masks: Mapping[int, Masks] | None = None
    faithfulness: Faithfulness | None = None
    randomisation: Randomisation | None = None

    @property
    def statement(self) -> str:
        """What is explained, and how, for a person."""
        what = (
            f"Why {self.label} {self.probability:.0%}"
            if self.masks is None
            else f"Why {self.label} is where it is outlined"
        )
        return f"{what}, by {self.method}"

    def as_dict(self) -> dict[str, Any]:
        """Everything but the maps, for JSON; slices are counted from 0."""
        return {
            "target": self.label,
            "probability": self.probability,
            "method": self.method,
            "slices": sorted(self.maps),
            "faithfulness": self.faithfulness and self.faithfulness.as_dict(),
            "randomisation": self.randomisation and self.randomisation.as_dict(),
        }


def ask(model: BundleModel, volume: highdicom.Volume, target: str | None = None) -> Answer:
    """Ask the torch network of a bundle why it says `target` (a label) of a volume.

    Without a target: the likeliest class, or the largest segment. Raises ConfigError if there is no
    such label or the network has no weights, InputError if the segment is not there, and as `read`.
    """
    spec = main_network(model.bundle)
    network = load_original(model.bundle, spec).module
    result = model.read(volume, no_progress)
    prepared = model.prepare(volume)
    if isinstance(result, FindingsResult):
        labels = list(result.probabilities)
        chosen = _chosen(labels, target, list(result.probabilities.values()))
        questions = _ask_slices(network, prepared, labels.index(chosen))
        return Answer(chosen, result.probabilities[chosen], prepared, questions)
    segments = {segment.label: segment for segment in result.segments}
    sizes = [int(result.mask_of(each).sum()) for each in result.segments]
    chosen = _chosen(list(segments), target, sizes)
    if not any(sizes):
        raise InputError(
            f"{model.name} finds nothing in it, so there is nothing to explain",
            hint="look at what it finds with wetread infer",
        )
    overlap = result.segments_overlap
    channel = _channel_of(segments[chosen], spec, overlap=overlap)
    question = ask_segmenter(network, prepared[None], channel, spec.input.shape[2:])
    return Answer(chosen, question.probability, prepared, {-1: question})


def explain(
    model: BundleModel,
    answer: Answer,
    method: str,
    settings: Settings | None = None,
    progress: Progress = no_progress,
    *,
    is_measured: bool = False,
) -> Explanation:
    """What the answer rests on, by one of `METHODS`; `is_measured` adds how far to trust it.

    `progress` is told "explain" and "measure" with the share that is done. Raises as `attribute`.
    """
    found: dict[int, Floats] = {}
    for done, (place, question) in enumerate(answer.questions.items()):
        progress("explain", done / len(answer.questions))
        found[place] = attribute(question, method, settings)
    progress("explain", 1.0)
    maps, masks = _on_the_grid(model, answer, found)
    explanation = Explanation(answer.label, answer.probability, method, maps, masks)
    if not is_measured:
        return explanation
    progress("measure", 0.0)
    faithfulness = measure_faithfulness(answer.question, next(iter(found.values())))
    progress("measure", 0.5)
    randomisation = check_randomisation(
        answer.question, lambda question: attribute(question, method, settings)
    )
    progress("measure", 1.0)
    return replace(explanation, faithfulness=faithfulness, randomisation=randomisation)


def _chosen(labels: list[str], target: str | None, weights: list[float] | list[int]) -> str:
    if target is None:
        return labels[int(np.argmax(weights))]
    named = {label.casefold(): label for label in labels}
    if target.casefold() not in named:
        raise ConfigError(f"no class or segment {target!r}", hint=f"known: {', '.join(labels)}")
    return named[target.casefold()]


def _channel_of(segment: Segment, spec: NetworkSpec, *, overlap: bool) -> int:
    """A network has a channel for each label value, the background's first, or one alone.

    Where segments may overlap, it has one for each segment.
    """
    if overlap:
        return segment.segment_number - 1
    return 0 if spec.output.shape[1] == 1 else segment.label_value


def _ask_slices(
    network: torch.nn.Module, prepared: MetaTensor, target: int
) -> Mapping[int, Question]:
    """Questions about the slices of (channel, slice, row, column), the most certain ones first."""
    slices = torch.as_tensor(prepared).movedim(1, 0)
    questions = [ask_classifier(network, each[None], target) for each in slices]
    certain = np.argsort([-each.probability for each in questions], kind="stable")
    return {int(place): questions[place] for place in certain[:MOST_SLICES]}


def _on_the_grid(
    model: BundleModel, answer: Answer, found: Mapping[int, Floats]
) -> tuple[Mapping[int, Floats], Mapping[int, Masks] | None]:
    """The maps by slice of the volume, and the segment's mask."""
    shape = tuple(answer.prepared.shape[1:])
    values = np.zeros(shape, np.float32)
    if not answer.is_segment:
        for place, each in found.items():
            values[place] = each
        restored = model.restore(values, answer.prepared)
        return {place: restored[place] for place in found}, None
    question = answer.question
    mask, window = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    values[question.window], window[question.window] = found[-1], 1.0
    mask[question.window] = np.asarray(question.mask, np.float32)
    restored, inside, where = (
        model.restore(each, answer.prepared) for each in (values, mask, window)
    )
    asked = [int(place) for place in np.flatnonzero((where > 0.5).any(axis=(1, 2)))]
    masks = {place: inside[place] > 0.5 for place in asked}
    return {place: restored[place] for place in asked}, masks

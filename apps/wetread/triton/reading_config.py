"""The Triton configuration of a whole pipeline, as text; see `wetread.triton.served.reading`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wetread.infer.description import Description

SUFFIX = "_reading"


@dataclass(frozen=True, slots=True)
class ReadingFacts:
    """What a reading's configuration says of its bundle.

    `modalities` are the channels of the image, for a bundle that reads several; `networks` has the
    version and SHA-256 of each; `operating_points` the probability from which a class is present.
    """

    name: str
    description: Description
    modalities: Sequence[str]
    operating_points: Mapping[str, float]
    networks: Mapping[str, Mapping[str, Any]]


def reading_config(facts: ReadingFacts, instances: int) -> str:
    """For the Python backend: one volume a request, `instances` of them at once."""
    channels = f", {len(facts.modalities)}" if facts.modalities else ""
    # A mask must know left from right; a picture's class does not.
    loose = " optional: true" if facts.description.classes and not channels else ""
    axes = "slice, row, column" + (", modality" if channels else "")
    lines = [
        "# Written by `wetread models build` from the bundle; what is changed here is lost then.",
        f"# {facts.name}: a volume in, the finished answer out; the networks beside it are asked.",
        f'name: "{facts.name}"',
        'backend: "python"',
        "max_batch_size: 0",
        f"# image: ({axes}); affine: from there to mm in LPS{', or left out' if loose else ''}.",
        "input [",
        f'    {{ name: "image" data_type: TYPE_FP32 dims: [ -1, -1, -1{channels} ] }},',
        f'    {{ name: "affine" data_type: TYPE_FP64 dims: [ 4, 4 ]{loose} }}',
        "]",
        "# warning: empty, or in what the image is unlike those of training; model: JSON.",
        "output [",
        f"    {_answer(facts.description)},",
        '    { name: "warning" data_type: TYPE_STRING dims: [ 1 ] },',
        '    { name: "model" data_type: TYPE_STRING dims: [ 1 ] }',
        "]",
        f"instance_group [ {{ kind: KIND_CPU count: {instances} }} ]",
        *_meanings(facts),
        "# The weights that it was written for.",
        _parameter("networks", facts.networks),
    ]
    return "\n".join(lines) + "\n"


def _answer(description: Description) -> str:
    if description.classes:
        count = len(description.classes)
        return f'{{ name: "probabilities" data_type: TYPE_FP32 dims: [ {count} ] }}'
    return '{ name: "labelmap" data_type: TYPE_UINT16 dims: [ -1, -1, -1 ] }'


def _meanings(facts: ReadingFacts) -> list[str]:
    """What the numbers of the answer mean."""
    if facts.description.classes:
        return [
            "# The classes in the order of their probabilities, and from where each is present.",
            _parameter("classes", [each.label for each in facts.description.classes]),
            _parameter("operating_points", facts.operating_points),
            *([_parameter("modalities", facts.modalities)] if facts.modalities else []),
        ]
    labels = {str(each.label_value): each.label for each in facts.description.segments}
    what = "The values of the labelmap; 0 is background."
    if facts.description.segments_overlap:
        what = "The bits of the labelmap: a voxel holds the sum of the labels that stand there."
    return [f"# {what}", _parameter("labels", labels)]


def _parameter(key: str, value: Any) -> str:
    # As protobuf's text form quotes a string; JSON of a string is such a one.
    quoted = json.dumps(json.dumps(value), ensure_ascii=True)
    return f'parameters {{ key: "{key}" value {{ string_value: {quoted} }} }}'

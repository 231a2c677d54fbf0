"""What Triton is told of every whole pipeline parses, and says what its bundle does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from conftest import ROOT
from wetread.infer.description import Description, load_description, load_networks
from wetread.triton.reading_config import SUFFIX, ReadingFacts, reading_config


def bundles() -> Iterator[Any]:
    for configs in sorted((ROOT / "bundles").glob("*/configs")):
        yield pytest.param(configs.parent, id=configs.parent.name)


def facts_of(bundle: Path) -> ReadingFacts:
    """Of a bundle with or without weights: hashes and operating points are made up."""
    description = load_description(bundle)
    inference = json.loads((bundle / "configs/inference.json").read_text(encoding="utf-8"))
    return ReadingFacts(
        f"{bundle.name}{SUFFIX}",
        description,
        inference.get("modalities", ()),
        {each.label: 0.25 for each in description.classes if each.finding},
        {name: {"version": 3, "weights_sha256": "ab" * 32} for name in load_networks(bundle)},
    )


def parsed(text: str) -> Any:
    """As Triton's own message. An unknown field or an unbalanced brace is an error."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def parameters(config: Any) -> dict[str, Any]:
    return {key: json.loads(value.string_value) for key, value in config.parameters.items()}


def ports(ports: Any) -> list[tuple[str, str, list[int], bool]]:
    kinds = model_config_pb2.DataType
    found = [(each, kinds.Name(each.data_type).removeprefix("TYPE_")) for each in ports]
    return [(e.name, kind, list(e.dims), getattr(e, "optional", False)) for e, kind in found]


def answer(description: Description) -> tuple[str, str, list[int], bool]:
    if description.classes:
        return "probabilities", "FP32", [len(description.classes)], False
    return "labelmap", "UINT16", [-1, -1, -1], False


every_bundle = pytest.mark.parametrize("bundle", list(bundles()))


@every_bundle
@pytest.mark.parametrize("instances", [1, 2])
def test_every_pipeline_takes_a_volume_and_gives_the_finished_answer(
    bundle: Path, instances: int
) -> None:
    facts = facts_of(bundle)
    config = parsed(reading_config(facts, instances))
    assert (config.name, config.backend) == (f"{bundle.name}_reading", "python")
    assert config.max_batch_size == 0
    channels = [len(facts.modalities)] if facts.modalities else []
    loose = bool(facts.description.classes) and not channels
    assert ports(config.input) == [
        ("image", "FP32", [-1, -1, -1, *channels], False),
        ("affine", "FP64", [4, 4], loose),
    ]
    assert ports(config.output) == [
        answer(facts.description),
        ("warning", "STRING", [1], False),
        ("model", "STRING", [1], False),
    ]
    [group] = config.instance_group
    # A GPU is the networks'; this is Python.
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_CPU, instances)


@every_bundle
def test_a_client_can_read_there_what_the_numbers_mean(bundle: Path) -> None:
    facts = facts_of(bundle)
    said = parameters(parsed(reading_config(facts, 1)))
    assert said.pop("networks") == facts.networks
    description = facts.description
    if description.classes:
        assert said.pop("classes") == [each.label for each in description.classes]
        assert said.pop("operating_points") == facts.operating_points
        assert said.pop("modalities", []) == list(facts.modalities)
    else:
        wanted = {str(each.label_value): each.label for each in description.segments}
        assert said.pop("labels") == wanted
    assert said == {}


def test_words_that_protobuf_would_trip_over_come_through() -> None:
    facts = facts_of(ROOT / "bundles" / "chest_xray_classification")
    points = {'a "quoted" \\ word': 0.5, "größer": 0.25}
    odd = ReadingFacts(facts.name, facts.description, (), points, facts.networks)
    assert parameters(parsed(reading_config(odd, 1)))["operating_points"] == points

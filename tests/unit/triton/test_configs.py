"""What Triton is told of every network is what its bundle declares, in a form that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from conftest import ROOT
from wetread.infer.description import NetworkSpec, TensorSpec, load_networks
from wetread.models.serving import profile_for
from wetread.triton.configs import (
    CACHE,
    CONTAINER,
    CONTAINER_TAG,
    FREE_LENGTHS,
    KEPT_VERSIONS,
    ONNX_FP16_FILE,
    TENSORRT_MAJOR,
    Profile,
    cpu_config,
    gpu_config,
    profile_of,
    tensorrt_config,
)

SHA = {"1": "ab" * 32, "2": "cd" * 32}
PLANS = {"8.6": "model_sm86.plan", "9.0": "model_sm90.plan"}


def networks() -> Iterator[tuple[str, Path, NetworkSpec]]:
    for configs in sorted((ROOT / "bundles").glob("*/configs")):
        for name, spec in load_networks(configs.parent).items():
            yield name, configs.parent, spec


def parsed(text: str) -> Any:
    """As Triton's own message. An unknown field or an unbalanced brace is an error."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def spec_of(shape: tuple[int, ...], output: tuple[int, ...]) -> NetworkSpec:
    tensors = TensorSpec("x", shape, "float32"), TensorSpec("y", output, "float32")
    return NetworkSpec("any", "network_def", *tensors)


def texts(spec: NetworkSpec, profile: Profile) -> Mapping[str, str]:
    return {
        "gpu": gpu_config(spec, profile, SHA),
        "cpu": cpu_config(spec, profile, SHA),
        "tensorrt": tensorrt_config(spec, profile, SHA, PLANS),
    }


def accelerator(config: Any) -> dict[str, str]:
    [found] = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert found.name == "tensorrt"
    return dict(found.parameters)


PICTURES = spec_of((-1, 1, 224, 224), (-1, 3))
WINDOWS = spec_of((-1, 2, -1, -1, -1), (-1, 3, -1, -1, -1))
FIXED = spec_of((1, 1, 64, 64, 64), (1, 2, 64, 64, 64))
every_network = pytest.mark.parametrize(
    ("bundle", "spec"), [pytest.param(b, s, id=name) for name, b, s in networks()]
)
every_kind = pytest.mark.parametrize("kind", ["gpu", "cpu", "tensorrt"])


@every_network
@every_kind
def test_every_bundles_configurations_parse_and_agree_with_it(
    bundle: Path, spec: NetworkSpec, kind: str
) -> None:
    config = parsed(texts(spec, profile_for(bundle, spec))[kind])
    batched = config.max_batch_size > 0
    assert batched == (spec.input.shape[0] == -1)
    assert config.name == spec.name
    for [port], tensor in ((config.input, spec.input), (config.output, spec.output)):
        assert (port.name, port.data_type) == (tensor.name, model_config_pb2.TYPE_FP32)
        assert list(port.dims) == list(tensor.shape[batched:])
    assert {key: value.string_value for key, value in config.parameters.items()}.items() >= {
        "onnx_sha256:1": SHA["1"],
        "onnx_sha256:2": SHA["2"],
    }.items()


@every_network
@every_kind
def test_a_warm_up_asks_what_the_network_takes(bundle: Path, spec: NetworkSpec, kind: str) -> None:
    config = parsed(texts(spec, profile_for(bundle, spec))[kind])
    sizes = [each.batch_size for each in config.model_warmup]
    most = max(1, config.max_batch_size) if kind == "cpu" else 1
    assert sizes == list(range(1, most + 1))
    sample = config.model_warmup[-1]
    [(name, given)] = sample.inputs.items()
    [port] = config.input
    assert (name, given.data_type, given.zero_data) == (port.name, port.data_type, True)
    assert len(given.dims) == len(port.dims)
    pairs = zip(given.dims, port.dims, strict=True)
    assert all(asked > 0 and declared in (-1, asked) for asked, declared in pairs)


@every_network
def test_a_gpu_engine_is_built_for_what_the_network_takes(bundle: Path, spec: NetworkSpec) -> None:
    config = parsed(gpu_config(spec, profile_for(bundle, spec), SHA))
    given = accelerator(config)
    shapes = [given.get(f"trt_profile_{each}_shapes") for each in ("min", "opt", "max")]
    if -1 not in spec.input.shape:
        assert shapes == [None, None, None]
        return
    lengths = []
    for text in shapes:
        name, _, numbers = (text or "").partition(":")
        assert name == spec.input.name
        lengths.append([int(number) for number in numbers.split("x")])
    for declared, low, usual, high in zip(spec.input.shape, *lengths, strict=True):
        assert 0 < low <= usual <= high
        assert declared == -1 or declared == low == high
    assert lengths[2][0] == max(1, config.max_batch_size)


def test_pictures_are_batched_by_eight_and_volumes_by_four() -> None:
    assert parsed(gpu_config(PICTURES, profile_of(PICTURES, ()), SHA)).max_batch_size == 8
    assert parsed(gpu_config(WINDOWS, profile_of(WINDOWS, ()), SHA)).max_batch_size == 4


def test_an_axis_of_any_length_is_as_long_as_the_inferers_window() -> None:
    """The inferer pads what is shorter, so nothing else ever comes."""
    found = profile_of(WINDOWS, (48, 64, 32))
    assert found == Profile((1, 2, 48, 64, 32), (2, 2, 48, 64, 32), (4, 2, 48, 64, 32))


def test_an_axis_that_nothing_fixes_has_a_range() -> None:
    low, usual, high = FREE_LENGTHS
    found = profile_of(WINDOWS, (48, 0, 32))
    assert found.shortest == (1, 2, 48, low, 32)
    assert found.usual == (2, 2, 48, usual, 32)
    assert found.longest == (4, 2, 48, high, 32)
    assert profile_of(WINDOWS, ()).longest == (4, 2, high, high, high)


def test_a_network_of_one_shape_has_one_profile() -> None:
    found = profile_of(FIXED, (32, 32, 32))
    assert not found.is_dynamic
    assert found.usual == FIXED.input.shape


CHANGED = [
    replace(WINDOWS, name="another"),
    replace(WINDOWS, input=replace(WINDOWS.input, name="image")),
    replace(WINDOWS, output=replace(WINDOWS.output, name="logits")),
    replace(WINDOWS, input=replace(WINDOWS.input, shape=(-1, 1, -1, -1, -1))),
    replace(WINDOWS, output=replace(WINDOWS.output, shape=(-1, 2, -1, -1, -1))),
    replace(WINDOWS, input=replace(WINDOWS.input, shape=(1, 2, -1, -1, -1))),
]


@every_kind
@pytest.mark.parametrize("spec", CHANGED, ids=["name", "input", "output", "in", "out", "batch"])
def test_a_changed_network_changes_its_configurations(spec: NetworkSpec, kind: str) -> None:
    changed = texts(spec, profile_of(spec, ()))[kind]
    assert parsed(changed) != parsed(texts(WINDOWS, profile_of(WINDOWS, ()))[kind])


@every_kind
def test_another_window_changes_the_configurations(kind: str) -> None:
    one, other = (texts(WINDOWS, profile_of(WINDOWS, (n, n, n)))[kind] for n in (32, 64))
    assert parsed(one) != parsed(other)


@every_kind
def test_no_queue_policy_keeps_the_batcher_from_looking_ahead(kind: str) -> None:
    """Triton prefetches only without any: no length, no time-out, no override, no priorities."""
    for spec in (PICTURES, FIXED):
        config = parsed(texts(spec, profile_of(spec, ()))[kind])
        assert config.HasField("dynamic_batching")
        assert not config.dynamic_batching.HasField("default_queue_policy")
        assert not config.dynamic_batching.priority_levels
        assert not config.response_cache.enable


def test_a_cpu_waits_for_no_fuller_batch() -> None:
    config = parsed(cpu_config(PICTURES, profile_of(PICTURES, ()), SHA))
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    config = parsed(gpu_config(PICTURES, profile_of(PICTURES, ()), SHA))
    assert 0 < config.dynamic_batching.max_queue_delay_microseconds <= 1000


def test_each_runs_where_it_says() -> None:
    gpu, cpu, plan = (parsed(each) for each in texts(PICTURES, profile_of(PICTURES, ())).values())
    group = model_config_pb2.ModelInstanceGroup
    assert (gpu.backend, cpu.backend, plan.platform) == ("onnxruntime", "python", "tensorrt_plan")
    kinds = [[each.kind for each in config.instance_group] for config in (gpu, cpu, plan)]
    assert kinds == [[group.KIND_GPU], [group.KIND_CPU], [group.KIND_GPU]]
    assert [each.default_model_filename for each in (gpu, cpu, plan)] == [
        "model.onnx",
        "model.py",
        "model.plan",
    ]
    assert gpu.version_policy.latest.num_versions == KEPT_VERSIONS == 2
    assert cpu.version_policy.latest.num_versions == KEPT_VERSIONS


def test_engines_are_kept_by_network_and_container() -> None:
    """By GPU and by version, too: see deploy/README.md and the name of the graph."""
    given = accelerator(parsed(gpu_config(PICTURES, profile_of(PICTURES, ()), SHA)))
    assert given["trt_engine_cache_enable"] == given["trt_timing_cache_enable"] == "1"
    assert given["trt_engine_cache_path"] == f"{CACHE}/any"
    assert given["trt_timing_cache_path"] == f"{CACHE}/any"
    assert CACHE.endswith(f"/{CONTAINER_TAG}")
    assert CONTAINER.endswith(f":{CONTAINER_TAG}")
    # It would replace the graph's name in the names of the engines.
    assert "trt_engine_cache_prefix" not in given


def test_half_precision_is_switched_on_only_where_there_is_such_a_switch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TensorRT 11 has none: the graph's own types decide."""
    profile = profile_of(PICTURES, ())
    assert TENSORRT_MAJOR <= 10
    half = gpu_config(PICTURES, profile, SHA, file=ONNX_FP16_FILE)
    assert parsed(half).default_model_filename == ONNX_FP16_FILE
    assert accelerator(parsed(half))["precision_mode"] == "FP16"
    assert "precision_mode" not in accelerator(parsed(gpu_config(PICTURES, profile, SHA)))
    monkeypatch.setattr("wetread.triton.configs.TENSORRT_MAJOR", 11)
    newer = gpu_config(PICTURES, profile, SHA, file=ONNX_FP16_FILE)
    assert "precision_mode" not in accelerator(parsed(newer))


def test_plans_are_chosen_by_the_gpu() -> None:
    config = parsed(tensorrt_config(PICTURES, profile_of(PICTURES, ()), SHA, PLANS))
    assert dict(config.cc_model_filenames) == PLANS
    assert list(config.version_policy.specific.versions) == [1, 2]
    assert [list(each.profile) for each in config.instance_group] == [["0"]]


@every_kind
def test_a_comment_says_what_a_line_is_for(kind: str) -> None:
    """An administrator reads them on the server."""
    text = texts(WINDOWS, profile_of(WINDOWS, ()))[kind]
    comments = [line for line in text.splitlines() if "#" in line]
    assert len(comments) >= 6
    assert any("wetread models build" in line for line in comments)
    assert max(len(line) for line in text.splitlines()) <= 130

"""A network's Triton configurations, as text, from what its bundle declares of it.

Three texts in protobuf's text form, of the message ModelConfig: `gpu_config` (ONNX Runtime with
TensorRT), `cpu_config` (the Python backend) and `tensorrt_config` (TensorRT's own plans). Every
figure comes from the bundle or stands here once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wetread.infer.description import NetworkSpec, TensorSpec

# The server's container that the GPU configurations are written for, and its TensorRT.
CONTAINER_TAG = "25.12-py3"
CONTAINER = f"nvidia/tritonserver:{CONTAINER_TAG}"
TENSORRT_MAJOR = 10
# Where engines are kept inside that container. One folder a GPU type is mounted on it, see
# deploy/README.md, so that no engine meets another kind of GPU.
CACHE = f"/var/cache/wetread-triton/{CONTAINER_TAG}"
WORKSPACE_BYTES = 4 << 30

# Of a network that takes a batch of any length, so many pictures or volumes go through at once.
MAX_PICTURES = 8
MAX_VOLUMES = 4
KEPT_VERSIONS = 2
# Shortest, usual and longest length of an axis that neither the network nor its inferer fixes.
FREE_LENGTHS = (64, 96, 256)
# What a GPU waits for a fuller batch. A CPU gains little from one, and does not wait.
GPU_BATCH_DELAY_SECONDS = 0.0005

ONNX_FILE = "model.onnx"
ONNX_FP16_FILE = "model_fp16.onnx"
ONNX_INT8_FILE = "model_int8.onnx"
PLAN_FILE = "model.plan"


@dataclass(frozen=True, slots=True)
class Profile:
    """Shapes of an input, batch included, between which a GPU engine is built."""

    shortest: tuple[int, ...]
    usual: tuple[int, ...]
    longest: tuple[int, ...]

    @property
    def is_dynamic(self) -> bool:
        """Whether any axis has several lengths."""
        return self.shortest != self.longest


def max_batch_size(spec: NetworkSpec) -> int:
    """Triton's max_batch_size: 0 where the network fixes its batch axis, else 8, or 4 volumes."""
    if spec.input.shape[0] >= 0:
        return 0
    return MAX_VOLUMES if len(spec.input.shape) == 5 else MAX_PICTURES


def profile_of(spec: NetworkSpec, window: Sequence[int]) -> Profile:
    """The shapes that `spec` will be asked for.

    `window` is the length of each spatial axis that the bundle's inferer cuts images to, 0 where it
    does not say; it may be empty.
    """
    most = max_batch_size(spec)
    lengths = [
        (1, max(1, most // 2), most) if spec.input.shape[0] < 0 else (spec.input.shape[0],) * 3
    ]
    for axis, size in enumerate(spec.input.shape[1:], 1):
        cut = window[axis - 2] if 2 <= axis < 2 + len(window) else 0
        lengths.append((size,) * 3 if size >= 0 else (cut,) * 3 if cut > 0 else FREE_LENGTHS)
    return Profile(*zip(*lengths, strict=True))


def gpu_config(
    spec: NetworkSpec, profile: Profile, sha256: Mapping[str, str], *, file: str = ONNX_FILE
) -> str:
    """`config.pbtxt`: ONNX Runtime on a GPU, which leaves what it can to TensorRT.

    `file` is served, and `sha256` is that of each version's.
    """
    return _text(
        [
            f"# {spec.name} on a GPU: ONNX Runtime, with TensorRT for whatever it takes.",
            *_head(spec, "backend", "onnxruntime", file),
            *_versions_kept(),
            *_ports(spec),
            "# Sessions with TensorRT that load at once have crashed: one, and one load thread.",
            "instance_group [ { kind: KIND_GPU count: 1 } ]",
            *_accelerator(spec, profile, file),
            *_queue(spec, GPU_BATCH_DELAY_SECONDS),
            "# Builds or loads the engine before the model is ready; the first time takes minutes.",
            *_warm_up(spec, profile),
            *_hashes(sha256),
        ]
    )


def cpu_config(
    spec: NetworkSpec, profile: Profile, sha256: Mapping[str, str], *, file: str = ONNX_FILE
) -> str:
    """`configs/cpu.pbtxt`: the Python backend, in which model.py runs `file` on the CPU.

    `sha256` is that of each version's `file`.
    """
    return _text(
        [
            f"# {spec.name} on the CPU: model.py beside {file}; tritonserver",
            "# --model-config-name=cpu takes this file.",
            *_head(spec, "backend", "python", "model.py"),
            *_versions_kept(),
            *_ports(spec),
            "# One instance: a forward already uses every core.",
            "instance_group [ { kind: KIND_CPU count: 1 } ]",
            *_queue(spec, 0),
            "# The first batch of each size takes OpenVINO half a second more: before any request.",
            *_warm_up(spec, profile, range(1, max(1, max_batch_size(spec)) + 1)),
            "# 0: every core.",
            _parameter("intra_op_threads", "0"),
            _parameter("onnx_file", file),
            *_hashes(sha256),
        ]
    )


def tensorrt_config(
    spec: NetworkSpec, profile: Profile, sha256: Mapping[str, str], plans: Mapping[str, str]
) -> str:
    """`configs/tensorrt.pbtxt`: plans that were built by `wetread models build --target tensorrt`.

    `plans` has the file name by compute capability ("8.6"), the same in every version; `sha256`
    has the versions that have them, and of each the ONNX that they were built from.
    """
    files = ", ".join(f'{{ key: "{gpu}" value: "{file}" }}' for gpu, file in sorted(plans.items()))
    return _text(
        [
            f"# {spec.name} by TensorRT plans; tritonserver --model-config-name=tensorrt takes",
            f"# this file. A plan is good for one kind of GPU and for {CONTAINER} alone.",
            *_head(spec, "platform", "tensorrt_plan", PLAN_FILE),
            f"cc_model_filenames [ {files} ]",
            "# Those that have a plan.",
            f"version_policy {{ specific {{ versions: [ {', '.join(sha256)} ] }} }}",
            *_ports(spec),
            'instance_group [ { kind: KIND_GPU count: 1 profile: [ "0" ] } ]',
            *_queue(spec, GPU_BATCH_DELAY_SECONDS),
            *_warm_up(spec, profile),
            *_hashes(sha256),
        ]
    )


def shape_text(shape: Iterable[int]) -> str:
    """1x1x224x224, as TensorRT writes a shape."""
    return "x".join(str(length) for length in shape)


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _head(spec: NetworkSpec, kind: str, runner: str, file: str) -> list[str]:
    most = max_batch_size(spec)
    why = "any number of inputs goes through at once" if most else "the network fixes its batch"
    return [
        "# Written by `wetread models build` from the bundle; what is changed here is lost then.",
        f'name: "{spec.name}"',
        f'{kind}: "{runner}"',
        f'default_model_filename: "{file}"',
        f"max_batch_size: {most}  # {why}",
    ]


def _versions_kept() -> list[str]:
    return [
        "# The newest answers; the one before stays for who asks for it by its number.",
        f"version_policy {{ latest {{ num_versions: {KEPT_VERSIONS} }} }}",
    ]


def _ports(spec: NetworkSpec) -> list[str]:
    return [_port("input", spec, spec.input), _port("output", spec, spec.output)]


def _port(kind: str, spec: NetworkSpec, tensor: TensorSpec) -> str:
    dims = _listed(tensor.shape[1:] if max_batch_size(spec) else tensor.shape)
    return f'{kind} [ {{ name: "{tensor.name}" data_type: TYPE_FP32 dims: [ {dims} ] }} ]'


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _accelerator(spec: NetworkSpec, profile: Profile, file: str) -> list[str]:
    cache = f"{CACHE}/{spec.name}"
    values = {
        "max_workspace_size_bytes": str(WORKSPACE_BYTES),
        # An engine's file is named by its graph, of which models.export makes one for each weights.
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }
    if file == ONNX_FP16_FILE and TENSORRT_MAJOR <= 10:
        # TensorRT 11 has no such switch: the graph alone says in what it computes.
        values["precision_mode"] = "FP16"
    if profile.is_dynamic:
        for name in ("min", "opt", "max"):
            shape = {"min": profile.shortest, "opt": profile.usual, "max": profile.longest}[name]
            values[f"trt_profile_{name}_shapes"] = f"{spec.input.name}:{shape_text(shape)}"
    lines = [f'    parameters {{ key: "{key}" value: "{value}" }}' for key, value in values.items()]
    return [
        "# A shape outside of the profile would build the engine anew, within a request.",
        "optimization { execution_accelerators { gpu_execution_accelerator: [ {",
        '    name: "tensorrt"',
        *lines,
        "} ] } }",
    ]


def _queue(spec: NetworkSpec, delay_seconds: float) -> list[str]:
    wait = ""
    if delay_seconds and max_batch_size(spec):
        wait = f" max_queue_delay_microseconds: {round(delay_seconds * 1e6)} "
    return [
        "# What waits is batched. No queue policy: under any (a length, a time-out) the batcher",
        "# is not woken by a request that comes while the network computes: it answers 0.5 s late.",
        "# Clients bound what is in flight, and cancel what they wait for no longer.",
        f"dynamic_batching {{{wait}}}",
        "# No image comes twice, and to look for it would cost a hash of all its voxels.",
        "response_cache { enable: false }",
    ]


def _warm_up(spec: NetworkSpec, profile: Profile, sizes: Sequence[int] = (1,)) -> list[str]:
    """One request of the usual shape for each size of batch."""
    dims = _listed(profile.usual[1:] if max_batch_size(spec) else profile.usual)
    samples = [
        f'    name: "batch of {size}" batch_size: {size}\n'
        f'    inputs {{ key: "{spec.input.name}" value {{'
        f" data_type: TYPE_FP32 dims: [ {dims} ] zero_data: true }} }}"
        for size in sizes
    ]
    return ["model_warmup [ {", "\n}, {\n".join(samples), "} ]"]


def _hashes(sha256: Mapping[str, str]) -> list[str]:
    return [
        "# Which weights answer, by version.",
        *(_parameter(f"onnx_sha256:{version}", value) for version, value in sha256.items()),
    ]


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'

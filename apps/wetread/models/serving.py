"""What Triton serves a network by, beside its versions: configurations and `model.py`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openvino
from monai.bundle import ConfigParser
from monai.utils import ensure_tuple_rep

from wetread.errors import ConfigError, InferenceError
from wetread.files import write_if_other
from wetread.infer.bundle import causes_of
from wetread.infer.description import MAIN_NETWORK, NetworkSpec
from wetread.models.record import BuiltModel, read_record, version_folders
from wetread.models.targets import Precision
from wetread.triton.configs import (
    KEPT_VERSIONS,
    ONNX_FILE,
    ONNX_FP16_FILE,
    ONNX_INT8_FILE,
    Profile,
    cpu_config,
    gpu_config,
    profile_of,
    tensorrt_config,
)
from wetread.triton.served import NETWORK_FILE

MODEL_PY = "model.py"
# Forms of fewer bits, and which of them is served where.
FORM_FILES = {Precision.FP16: ONNX_FP16_FILE, Precision.INT8: ONNX_INT8_FILE}
ON_GPU = Precision.FP16
ON_CPU = Precision.INT8
# Plans are named by the GPU's compute capability: sm86 is 8.6.
PLAN_PREFIX = "sm"


def write_serving(bundle: Path, spec: NetworkSpec, repository: Path) -> None:
    """Write the configurations and every kept version's `model.py`, where they are not up to date.

    The GPU is given the FP16 form and the CPU the INT8 form once every version has it.

    Raises ConfigError if the bundle's inferer cannot be made, InferenceError if nothing is built.
    """
    kept = kept_versions(spec, repository)
    if not kept:
        raise InferenceError(
            f"network {spec.name}: nothing built in {repository}", hint="wetread models build"
        )
    folder = repository / spec.name
    profile = profile_for(bundle, spec)
    file, sha256 = served_file(kept, ON_GPU)
    gpu = gpu_config(spec, profile, sha256, file=file)
    write_if_other(folder / "config.pbtxt", gpu.encode())
    file, sha256 = served_file(kept, ON_CPU)
    cpu = cpu_config(spec, profile, sha256, file=file)
    write_if_other(folder / "configs/cpu.pbtxt", cpu.encode())
    _write_tensorrt(folder / "configs/tensorrt.pbtxt", spec, profile, kept)
    for built in kept:
        write_if_other(built.path.with_name(MODEL_PY), NETWORK_FILE.read_bytes())


def profile_for(bundle: Path, spec: NetworkSpec) -> Profile:
    """The shapes that a network of a bundle is asked for. Raises ConfigError, see `window_of`."""
    return profile_of(spec, window_of(bundle) if spec.config_id == MAIN_NETWORK else ())


def window_of(bundle: Path) -> tuple[int, ...]:
    """What the bundle's inferer cuts each spatial axis to, 0 where to nothing; else empty.

    Raises ConfigError if `inferer` in inference.json makes none.
    """
    path = bundle / "configs/inference.json"
    parser = ConfigParser()
    try:
        parser.read_config(str(path))
        parser["bundle_root"] = str(bundle)
        inferer: Any = parser.get_parsed_content("inferer") if "inferer" in parser else None
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ConfigError(
            f"{path}: inferer: {causes_of(error)[-1]}", hint="try the bundle with MONAI alone"
        ) from error
    sizes = getattr(inferer, "roi_size", ())
    axes = len(sizes) if isinstance(sizes, Sequence) else 3
    return tuple(max(0, int(size or 0)) for size in ensure_tuple_rep(sizes, axes))


def kept_versions(spec: NetworkSpec, repository: Path) -> list[BuiltModel]:
    """The newest two versions that are as recorded and as declared, oldest first."""
    found = [
        built
        for folder in version_folders(repository, spec.name)
        if (built := _sound(spec, folder)) is not None
    ]
    return found[-KEPT_VERSIONS:]


def remove_others(spec: NetworkSpec, repository: Path) -> None:
    """Remove older versions of a network, and those that cannot be served."""
    kept = {built.path.parent for built in kept_versions(spec, repository)}
    for folder in version_folders(repository, spec.name):
        if folder not in kept:
            shutil.rmtree(folder)


def has_declared_ports(spec: NetworkSpec, path: Path) -> bool:
    """Whether an ONNX file has the names and shapes of `spec`."""
    model = openvino.Core().read_model(path)
    source, target = model.input(0), model.output(0)
    wanted = openvino.PartialShape(list(spec.output.shape))
    return (
        source.get_partial_shape() == openvino.PartialShape(list(spec.input.shape))
        and target.get_partial_shape().compatible(wanted)
        and spec.input.name in source.get_names()
        and spec.output.name in target.get_names()
    )


def _sound(spec: NetworkSpec, folder: Path) -> BuiltModel | None:
    try:
        built = read_record(folder)
    except InferenceError:
        # Written by an older wetread, or cut short: building again repairs it.
        return None
    return built if built.is_whole and has_declared_ports(spec, built.path) else None


def served_file(kept: Sequence[BuiltModel], form: str) -> tuple[str, Mapping[str, str]]:
    """The file that is served, and its hash in each version."""
    forms = [built.forms.get(form) for built in kept]
    if forms[-1] is not None and all(each is not None and each.is_whole for each in forms):
        hashes = {built.version: built.forms[form].sha256 for built in kept}
        return forms[-1].path.name, hashes
    return ONNX_FILE, {built.version: built.onnx_sha256 for built in kept}


def _write_tensorrt(
    path: Path, spec: NetworkSpec, profile: Profile, kept: Sequence[BuiltModel]
) -> None:
    """Of the newest version's plans, for the versions that have all of them; none without plans."""
    plans = _plans(kept[-1])
    if not plans:
        path.unlink(missing_ok=True)
        return
    hashes = {
        built.version: built.onnx_sha256 for built in kept if plans.items() <= _plans(built).items()
    }
    write_if_other(path, tensorrt_config(spec, profile, hashes, plans).encode())


def _plans(built: BuiltModel) -> dict[str, str]:
    """File name by compute capability."""
    return {
        f"{name[len(PLAN_PREFIX) : -1]}.{name[-1]}": form.path.name
        for name, form in built.forms.items()
        if name.startswith(PLAN_PREFIX) and form.is_whole
    }

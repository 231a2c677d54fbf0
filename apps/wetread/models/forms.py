"""The same weights in fewer bits, behind the same gate: half precision, and 8-bit integers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wetread.errors import ConfigError, ModelContractError
from wetread.files import aside
from wetread.infer.base import Progress
from wetread.infer.description import NetworkSpec, load_networks
from wetread.models.calibration import batches_of
from wetread.models.export import build_models, compare_onnx
from wetread.models.original import Original, load_original
from wetread.models.parity import (
    REDUCED,
    Batch,
    check_figures,
    compare,
    fixed_batches,
    questions_of,
)
from wetread.models.record import BuiltModel, Figures, install_form, write_record
from wetread.models.reduced import (
    HALF_MAXIMUM,
    largest_value,
    onnx_runtime,
    write_half,
    write_integers,
)
from wetread.models.serving import FORM_FILES, kept_versions, profile_for, write_serving
from wetread.models.targets import Precision
from wetread.triton.configs import ONNX_FILE


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a network sees of the images it is calibrated on, and of those it is judged by."""

    train: Sequence[Batch]
    val: Sequence[Batch]


def build_form(
    bundle: Path, repository: Path, precision: Precision, data: Path | None, progress: Progress
) -> list[BuiltModel]:
    """Build the networks of a bundle, and beside each the form of that precision.

    `fp32` takes the other forms away. INT8 is calibrated on what the networks see of the split
    "train" of `data`, and compared on what they see of "val" too.

    Raises as `build_models`; ConfigError for INT8 without data; ModelContractError, with the
    figures, for a form that is too far from the network in torch: it is not installed.
    """
    if precision is Precision.INT8 and data is None:
        raise ConfigError(
            f"{bundle.name}: INT8 is calibrated on images, and none are given",
            hint="pass --data: a folder with a labels.csv or a dataset.json, see bundles/README.md",
        )
    build_models(bundle, repository, progress)
    seen: Mapping[str, _Seen] = {}
    if precision is Precision.INT8 and data is not None:
        train = batches_of(bundle, repository, data, "train", progress)
        val = batches_of(bundle, repository, data, "val", progress)
        seen = {network: _Seen(train[network], val[network]) for network in train}
    networks = load_networks(bundle)
    built = []
    for index, spec in enumerate(networks.values()):
        progress(f"{spec.name} {precision}", index / len(networks))
        built.append(_with_form(bundle, spec, repository, precision, seen.get(spec.name)))
        write_serving(bundle, spec, repository)
    progress("done", 1.0)
    return built


def _with_form(
    bundle: Path, spec: NetworkSpec, repository: Path, precision: Precision, seen: _Seen | None
) -> BuiltModel:
    built = kept_versions(spec, repository)[-1]
    if precision is Precision.FP32:
        return _without_forms(built)
    original = load_original(bundle, spec)
    fixed = fixed_batches(spec, profile_for(bundle, spec))
    with aside(repository, "build") as folder:
        if seen is None:
            file, figures = _half(built, original, fixed, folder)
        else:
            file, figures = _integers(built, original, fixed, seen, folder)
        check_figures(spec, precision, figures, REDUCED)
        return install_form(built, precision, file, figures)


def _without_forms(built: BuiltModel) -> BuiltModel:
    left = {name: form for name, form in built.forms.items() if name not in FORM_FILES}
    changed = replace(built, forms=left)
    write_record(changed, built.path.parent)
    for file in FORM_FILES.values():
        built.path.with_name(file).unlink(missing_ok=True)
    return changed


def _half(
    built: BuiltModel, original: Original, fixed: Sequence[Batch], folder: Path
) -> tuple[Path, Figures]:
    spec, file = original.spec, folder / FORM_FILES[Precision.FP16]
    largest = largest_value(built.path, fixed)
    if largest > HALF_MAXIMUM:
        raise ModelContractError(
            f"network {spec.name} as fp16: a value within it reaches {largest:.3g}, and half "
            f"precision ends at {HALF_MAXIMUM:.0f}",
            hint="it was not installed; serve it in float32",
        )
    write_half(built.path, file)
    questions = questions_of(original, fixed)
    return file, compare(spec, Precision.FP16, onnx_runtime(file), questions)


def _integers(
    built: BuiltModel, original: Original, fixed: Sequence[Batch], seen: _Seen, folder: Path
) -> tuple[Path, Figures]:
    spec, file = original.spec, folder / FORM_FILES[Precision.INT8]
    write_integers(built.path, file, spec.input.name, seen.train)
    # OpenVINO is what runs it, and finds it where a network lies.
    placed = folder / spec.name / "1" / ONNX_FILE
    placed.parent.mkdir(parents=True)
    shutil.copyfile(file, placed)
    questions = questions_of(original, [*fixed, *seen.val])
    return file, compare_onnx(spec, Precision.INT8, folder, questions)

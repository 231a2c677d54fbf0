"""From a bundle's torch networks to ONNX in `triton_models/`, behind the accuracy gate."""

from __future__ import annotations

import fcntl
import os
import warnings
from contextlib import closing
from pathlib import Path

import onnx
import torch

from wetread.errors import InferenceError, ModelContractError, StorageError
from wetread.files import aside
from wetread.infer.base import Progress
from wetread.infer.description import NetworkSpec, load_networks
from wetread.infer.embedded import EmbeddedPredictor, newest_version
from wetread.infer.fixed_input import fixed_input
from wetread.models.original import Original, load_original
from wetread.models.parity import (
    CHECKED_LENGTHS,
    FLOAT32,
    Batch,
    Question,
    check_figures,
    check_output,
    compare,
    first_line,
    fixed_batches,
    questions_of,
)
from wetread.models.record import (
    RECORD,
    BuiltModel,
    Figures,
    read_record,
    sha256_of,
    version_folders,
    write_record,
)
from wetread.models.serving import (
    MODEL_PY,
    has_declared_ports,
    kept_versions,
    profile_for,
    remove_others,
    write_serving,
)
from wetread.triton.configs import ONNX_FILE
from wetread.triton.served import NETWORK_FILE

# What an axis of any length is built at: the batch axis, and the others. It is checked at others.
_BUILT_LENGTHS = (1, 64)


def build_models(bundle: Path, repository: Path, progress: Progress) -> list[BuiltModel]:
    """Export every network of a bundle to `<repository>/<network>/<version>/model.onnx`.

    A network whose newest version was built from the same definition and weights, is as recorded
    and has the declared opset, input and output, is left as it is. Else a new version is written
    aside, compared with torch on fixed inputs, and renamed into place under the next number; the
    version before it is kept if it can still be served, and older ones are removed. What Triton
    needs beside them is written wherever it is not as it should be.

    Raises ConfigError if the bundle or its weights are not there, ModelContractError if the
    exported network does not agree with the original.
    """
    networks = load_networks(bundle)
    built = []
    for index, spec in enumerate(networks.values()):
        progress(spec.name, index / len(networks))
        original = load_original(bundle, spec)
        built.append(_current(original, repository) or _made(bundle, original, repository))
        write_serving(bundle, spec, repository)
        remove_others(spec, repository)
    progress("done", 1.0)
    return built


def _made(bundle: Path, original: Original, repository: Path) -> BuiltModel:
    """Of two that build at once, one waits for the other and finds its version."""
    repository.mkdir(parents=True, exist_ok=True)
    folder = os.open(repository, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        return _current(original, repository) or _export(bundle, original, repository)
    finally:
        os.close(folder)


def list_models(repository: Path) -> list[BuiltModel]:
    """Every version of every network in the repository that was built here, by name and number."""
    networks = sorted({record.parent.parent.name for record in repository.glob(f"*/*/{RECORD}")})
    return [
        read_record(version)
        for network in networks
        for version in version_folders(repository, network)
        if (version / RECORD).is_file()
    ]


def check_model(bundle: Path, repository: Path) -> list[BuiltModel]:
    """Check the networks of a bundle: hashes as recorded, one forward of the declared shapes.

    Raises InferenceError if one is not built, ModelContractError if one is not as declared.
    """
    return [_checked(spec, repository) for spec in load_networks(bundle).values()]


def _checked(spec: NetworkSpec, repository: Path) -> BuiltModel:
    path = newest_version(repository, spec.name)
    recorded = read_record(path.parent)
    changed = [path] if not recorded.is_whole else []
    changed += [form.path for form in recorded.forms.values() if not form.is_whole]
    if changed:
        raise ModelContractError(
            f"{changed[0]} is not the file that was built", hint="wetread models build"
        )
    if not has_declared_ports(spec, path):
        raise ModelContractError(
            f"{path} has other inputs or outputs than export.json of the bundle declares",
            hint="build it again: wetread models build",
        )
    with closing(EmbeddedPredictor(spec.name, repository)) as predictor:
        check_output(spec, predictor.predict(fixed_input(spec, CHECKED_LENGTHS)))
    return recorded


def _current(original: Original, repository: Path) -> BuiltModel | None:
    folders = version_folders(repository, original.spec.name)
    kept = kept_versions(original.spec, repository)
    if not kept or kept[-1].path.parent != folders[-1]:
        return None
    newest = kept[-1]
    same = newest.torch_sha256 == original.sha256 and _opset(newest.path) == original.spec.opset
    return newest if same else None


def _opset(path: Path) -> int:
    imports = onnx.load(path, load_external_data=False).opset_import
    return next(int(each.version) for each in imports if each.domain in {"", "ai.onnx"})


def _export(bundle: Path, original: Original, repository: Path) -> BuiltModel:
    spec = original.spec
    with aside(repository, "build") as folder:
        onnx_file = folder / spec.name / "1" / ONNX_FILE
        onnx_file.parent.mkdir(parents=True)
        batches = fixed_batches(spec, profile_for(bundle, spec))
        questions = questions_of(original, batches)
        _write_onnx(original, onnx_file)
        figures = compare_onnx(spec, "ONNX", folder, questions)
        check_figures(spec, "ONNX", figures, FLOAT32)
        number = max((int(each.name) for each in version_folders(repository, spec.name)), default=0)
        place = repository / spec.name / str(number + 1)
        built = BuiltModel(
            spec.name,
            place.name,
            place / ONNX_FILE,
            sha256_of(onnx_file),
            original.sha256,
            figures,
        )
        write_record(built, onnx_file.parent)
        onnx_file.with_name(MODEL_PY).write_bytes(NETWORK_FILE.read_bytes())
        _install(onnx_file.parent, place)
    return built


def _install(folder: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    try:
        folder.rename(place)
    except OSError as error:
        raise StorageError(
            f"cannot install {place}: {error.strerror}",
            hint="another build may have been there first: run it again",
        ) from error


def compare_onnx(spec: NetworkSpec, form: str, folder: Path, questions: list[Question]) -> Figures:
    """How far `<folder>/<network>/<version>/model.onnx` is, run by OpenVINO in float32.

    Raises ModelContractError if it does not run, or gives no number.
    """
    try:
        predictor = EmbeddedPredictor(spec.name, folder)
    except InferenceError as error:
        raise ModelContractError(
            f"network {spec.name} does not run as {form}: {first_line(error)}",
            hint="check its operators",
        ) from error

    def run(batch: Batch) -> Batch:
        return predictor.predict(batch)

    with closing(predictor):
        return compare(spec, form, run, questions)


def _write_onnx(original: Original, path: Path) -> None:
    spec = original.spec
    example = torch.from_numpy(fixed_input(spec, _BUILT_LENGTHS))
    free = {
        tensor.name: {axis: f"axis{axis}" for axis, size in enumerate(tensor.shape) if size < 0}
        for tensor in (spec.input, spec.output)
    }
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter that takes TorchScript is announced as deprecated; the new one takes
            # none.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                original.module,
                (example,),
                str(path),
                dynamo=False,
                opset_version=spec.opset,
                input_names=[spec.input.name],
                output_names=[spec.output.name],
                dynamic_axes={name: axes for name, axes in free.items() if axes},
            )
    except RuntimeError as error:
        raise ModelContractError(
            f"network {spec.name} cannot be written as ONNX: {first_line(error)}",
            hint=f"use operators that ONNX opset {spec.opset} has",
        ) from error
    _name_graph(path, f"{spec.name}_{original.sha256[:16]}")


def _name_graph(path: Path, name: str) -> None:
    """ONNX Runtime names a TensorRT engine by its graph, not by its weights or version."""
    model = onnx.load(path)
    model.graph.name = name
    onnx.save(model, path)

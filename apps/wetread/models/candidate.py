"""What a promotion can take: the current bundle with other, sound weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wetread.config import EmbeddedModel
from wetread.errors import ConfigError, ModelContractError
from wetread.files import aside
from wetread.infer.base import Progress
from wetread.infer.bundle import CALIBRATION, BundleModel, open_model
from wetread.infer.description import bundle_version, load_networks
from wetread.infer.embedded import newest_version
from wetread.infer.gate import FILE as GATE
from wetread.infer.predictors import combined_sha256
from wetread.models.export import build_models
from wetread.models.kept import WEIGHTS, copy_version
from wetread.models.manifest import check_seal
from wetread.models.original import Original, load_original
from wetread.models.record import BuiltModel, sha256_of, version_folders
from wetread.models.serving import kept_versions
from wetread.results import ModelIdentity

# What labels, preprocessing and the networks' ports are is not a promotion's to change.
_SAME_CONFIGS = ("dicom.json", "export.json", "inference.json")


@dataclass(frozen=True, slots=True)
class Served:
    """What is served of a bundle: the newest version of each network, and the originals.

    `identity` is as results name it that are read in the gateway's process.
    """

    bundle: Path
    identity: ModelIdentity
    networks: Mapping[str, BuiltModel]
    originals: Mapping[str, Original]


def served_identity(bundle: Path, repository: Path) -> ModelIdentity:
    """As results name what is served now, whatever the bundle holds. Raises InferenceError."""
    weights = {name: sha256_of(newest_version(repository, name)) for name in load_networks(bundle)}
    sha256 = combined_sha256(weights, bundle / CALIBRATION)
    return ModelIdentity(bundle.name, bundle_version(bundle), sha256)


def served_of(bundle: Path, repository: Path) -> Served:
    """What is served of a bundle.

    Raises ConfigError if that is not what the bundle holds, or the bundle not what was sealed.
    """
    check_seal(bundle)
    networks, originals = {}, {}
    for name, spec in load_networks(bundle).items():
        original = load_original(bundle, spec)
        folders, kept = version_folders(repository, name), kept_versions(spec, repository)
        is_newest = bool(kept) and kept[-1].path.parent == folders[-1]
        if not is_newest or kept[-1].torch_sha256 != original.sha256:
            raise ConfigError(
                f"{bundle.name}: what {repository} has of {name} is not what the bundle holds",
                hint=f"wetread models build {bundle.name}, and promote then",
            )
        networks[name], originals[name] = kept[-1], original
    return Served(bundle, served_identity(bundle, repository), networks, originals)


def check_candidate(served: Served, candidate: Path) -> None:
    """Raise ModelContractError unless it differs from the current bundle in sound weights alone.

    Raises ConfigError for weights that cannot be read.
    """
    for name in _SAME_CONFIGS:
        place = _difference(_json(served.bundle, name), _json(candidate, name))
        if place is not None:
            raise ModelContractError(
                f"the candidate's configs/{name} differs from that of {served.bundle.name}: "
                f"{place.lstrip('.') or 'the whole of it'}",
                hint="a promotion changes weights only: release a new bundle version by hand",
            )
    for name in (WEIGHTS, CALIBRATION, GATE):
        if (served.bundle / name).is_file() and not (candidate / name).is_file():
            raise ModelContractError(
                f"the candidate has no {name}, which {served.bundle.name} has",
                hint="train it as the bundle was trained, or copy the file",
            )
    originals = {
        name: load_original(candidate, served.originals[name].spec) for name in served.originals
    }
    if all(each.sha256 == served.originals[name].sha256 for name, each in originals.items()):
        raise ModelContractError(
            f"the candidate has the weights of {served.bundle.name} {served.identity.version}",
            hint="there is nothing to promote; train it first",
        )
    for name, each in originals.items():
        _check_numbers(name, each.module)


def _check_numbers(name: str, module: torch.nn.Module) -> None:
    for key, tensor in module.state_dict().items():
        bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
        if bad:
            raise ModelContractError(
                f"the candidate's network {name}: {bad} of {tensor.numel()} values of {key} are "
                "NaN or infinite",
                hint="its training diverged: train again with a lower learning rate",
            )


def _json(bundle: Path, name: str) -> Any:
    path = bundle / "configs" / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}", hint="is this the folder of a bundle?") from error


def _difference(one: Any, other: Any) -> str | None:
    """The first place where two JSON values differ, "" if as a whole, None if nowhere."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(f".{key}", one.get(key), other.get(key)) for key in {**one, **other}]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"[{n}]", *pair) for n, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else ""
    for key, left, right in pairs:
        inner = _difference(left, right)
        if inner is not None:
            return f"{key}{inner}"
    return None


@dataclass(frozen=True, slots=True)
class Trial:
    """Both models open; `built` has the networks in which the candidate differs, built aside."""

    current: BundleModel
    candidate: BundleModel
    built: Mapping[str, BuiltModel]


@contextmanager
def opened_pair(
    served: Served, candidate: Path, repository: Path, progress: Progress
) -> Iterator[Trial]:
    """Export the candidate as the next versions, aside, behind the gate, and open both models.

    Raises ModelContractError if an exported network is not what it is in torch, and as
    `open_model`.
    """
    name = served.bundle.name
    with aside(repository, "build") as folder, ExitStack() as stack:
        for network, built in served.networks.items():
            copy_version(built.path.parent, folder / network / built.version)
        found = {each.network: each for each in build_models(candidate, folder, progress)}
        changed = {
            network: each
            for network, each in found.items()
            if each.torch_sha256 != served.originals[network].sha256
        }
        pair = [
            stack.enter_context(closing(open_model(name, EmbeddedModel(bundle=bundle), place)))
            for bundle, place in ((served.bundle, repository), (candidate, folder))
        ]
        yield Trial(pair[0], pair[1], changed)

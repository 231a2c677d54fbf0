"""The state of a bundle before a switch, kept so that a rollback restores it bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from wetread.errors import ConfigError, StorageError
from wetread.files import write_atomically
from wetread.infer.bundle import CALIBRATION
from wetread.infer.gate import FILE as GATE
from wetread.models.manifest import NAME as MANIFEST
from wetread.models.record import read_record, sha256_of, version_folders
from wetread.models.training_record import TRAINING

METADATA = "configs/metadata.json"
WEIGHTS = "models/model.pt"
# What a promotion changes in a bundle. The version comes first: who finds the weights of another
# version than the one that they began with sees it there.
FILES = (METADATA, WEIGHTS, CALIBRATION, GATE, f"models/{TRAINING}")
STATE = "state.json"
_NETWORKS = "networks"


@dataclass(frozen=True, slots=True)
class KeptState:
    """Files of a bundle by their name in it (None where there was none), and networks by name.

    `files` and `networks` have the SHA-256 of each file and of each ONNX.
    """

    folder: Path
    files: Mapping[str, str | None]
    networks: Mapping[str, str]

    def file(self, name: str) -> Path:
        """Where the file of that name is kept."""
        return self.folder / name

    def network(self, name: str) -> Path:
        """The version folder that is kept of a network."""
        return self.folder / _NETWORKS / name


def keep_state(bundle: Path, repository: Path, networks: Iterable[str], folder: Path) -> KeptState:
    """Copy what a promotion may change, and the newest version of those networks, to a new folder.

    The list of it is written last: without it nothing is kept. Raises StorageError.
    """
    names = [*FILES, MANIFEST]
    try:
        for name in names:
            if (bundle / name).is_file():
                write_atomically(folder / name, [(bundle / name).read_bytes()])
        for network in networks:
            newest = version_folders(repository, network)[-1]
            copy_version(newest, folder / _NETWORKS / network)
    except OSError as error:
        raise StorageError(
            f"cannot keep the state of {bundle.name} in {folder}: {error.strerror}",
            hint="free space on that disk",
        ) from error
    kept = KeptState(
        folder,
        {name: sha256_of(folder / name) if (folder / name).is_file() else None for name in names},
        {each: read_record(folder / _NETWORKS / each).onnx_sha256 for each in networks},
    )
    values = {key: value for key, value in asdict(kept).items() if key != "folder"}
    write_atomically(folder / STATE, [json.dumps(values, indent=2).encode()])
    return kept


def copy_version(folder: Path, place: Path) -> None:
    """Copy the files of a network's version to a new folder. Raises OSError or StorageError."""
    for file in sorted(folder.iterdir()):
        if file.is_file():
            write_atomically(place / file.name, [file.read_bytes()])


def read_state(folder: Path) -> KeptState:
    """What was kept there. Raises ConfigError if it is not there any more, or not whole."""
    hint = "restore it from a backup, or promote the former weights as a candidate"
    try:
        kept = KeptState(folder, **json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder} has no state that could be restored", hint=hint) from error
    for name, sha256 in kept.files.items():
        found = sha256_of(kept.file(name)) if kept.file(name).is_file() else None
        if found != sha256:
            raise ConfigError(f"{kept.file(name)} is not as it was kept", hint=hint)
    for network, sha256 in kept.networks.items():
        record = read_record(kept.network(network))
        if not record.is_whole or record.onnx_sha256 != sha256:
            raise ConfigError(f"{kept.network(network)} is not as it was kept", hint=hint)
    return kept

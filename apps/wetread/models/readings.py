"""Whole pipelines for Triton: a volume in, the finished labelmap or the probabilities out.

`<bundle>_reading` beside the networks has the bundle's own configuration and a `model.py` that runs
it, so what a client gets is what the gateway would send.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wetread.files import write_if_other
from wetread.infer.bundle import CALIBRATION, operating_points_of
from wetread.infer.description import load_description, load_networks
from wetread.infer.gate import FILE as GATE
from wetread.models.serving import MODEL_PY, ON_CPU, ON_GPU, kept_versions, served_file
from wetread.triton.reading_config import SUFFIX, ReadingFacts, reading_config
from wetread.triton.served import BUNDLE_FOLDER, READING_FILE

_VERSION = "1"
_CONFIGS = ("dicom.json", "export.json", "inference.json", "metadata.json")
# On a GPU the pre- and post-processing of one study goes on while the networks read another.
_INSTANCES = {"config.pbtxt": (ON_GPU, 2), "configs/cpu.pbtxt": (ON_CPU, 1)}


def write_reading(bundle: Path, repository: Path) -> Path:
    """Write the pipeline of a bundle whose networks are built, where it is not up to date.

    Returns its folder. Raises ConfigError if the bundle is not well formed, or a classifier
    not calibrated.
    """
    folder = repository / f"{bundle.name}{SUFFIX}"
    for name, (form, instances) in _INSTANCES.items():
        facts = _facts(bundle, repository, folder.name, form)
        write_if_other(folder / name, reading_config(facts, instances).encode())
    version = folder / _VERSION
    write_if_other(version / MODEL_PY, READING_FILE.read_bytes())
    files = [*(f"configs/{name}" for name in _CONFIGS), CALIBRATION, GATE]
    for file in files:
        if (bundle / file).is_file():
            write_if_other(version / BUNDLE_FOLDER / file, (bundle / file).read_bytes())
        else:
            (version / BUNDLE_FOLDER / file).unlink(missing_ok=True)
    return folder


def _facts(bundle: Path, repository: Path, name: str, form: str) -> ReadingFacts:
    description = load_description(bundle)
    points = operating_points_of(bundle, description)
    inference = json.loads((bundle / "configs/inference.json").read_text(encoding="utf-8"))
    networks: dict[str, Mapping[str, Any]] = {}
    for spec in load_networks(bundle).values():
        kept = kept_versions(spec, repository)
        _, hashes = served_file(kept, form)
        newest = kept[-1].version
        networks[spec.name] = {"version": int(newest), "weights_sha256": hashes[newest]}
    return ReadingFacts(name, description, inference.get("modalities", ()), points, networks)

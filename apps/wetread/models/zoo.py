"""A bundle of MONAI's Model Zoo, made readable: `dicom.json` and `export.json` from its metadata.

Nothing of the bundle is changed. What its metadata cannot say, such as a code for a label that
DICOM has no name for, is asked for and never guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from wetread.errors import ConfigError
from wetread.files import write_atomically
from wetread.infer.description import load_description, load_networks

_MODALITIES = ("CT", "MR")
_FEWEST_IMAGES = 3
_ANATOMY = {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}
# Colours of one lightness and chroma, as far apart as the golden angle puts them.
_LIGHTNESS, _CHROMA, _GOLDEN_ANGLE = 65.0, 55.0, math.radians(137.508)


def adopt(bundle: Path, given: Mapping[str, Code]) -> list[Path]:
    """Add `configs/dicom.json` and `configs/export.json` where they are not there yet.

    `given` are codes for labels, by the names of the metadata's `channel_def`; for others the
    SNOMED CT concept of that very name in PS3.16 is taken.

    Raises ConfigError if the folder is no bundle, if its network wants more than one channel, or if
    a label has no code.
    """
    metadata = _json(bundle / "configs/metadata.json")
    network = _json(bundle / "configs/inference.json")
    if "network_def" not in network:
        raise ConfigError(
            f"{bundle / 'configs/inference.json'} has no network_def",
            hint="name the bundle's network so; MONAI's own tools want it too",
        )
    wanted: dict[str, Callable[[], dict[str, Any]]] = {
        "dicom.json": lambda: _dicom(bundle, metadata, given),
        "export.json": lambda: _export(bundle, metadata),
    }
    written = []
    for name, content in wanted.items():
        path = bundle / "configs" / name
        if not path.exists():
            text = json.dumps(content(), indent=4, ensure_ascii=False) + "\n"
            write_atomically(path, [text.encode()])
            written.append(path)
    load_description(bundle), load_networks(bundle)
    return written


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}", hint="is this the folder of a bundle?") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no JSON object", hint="is this the folder of a bundle?")
    return content


def _tensor(bundle: Path, metadata: Mapping[str, Any], side: str, name: str) -> dict[str, Any]:
    try:
        tensor: dict[str, Any] = metadata["network_data_format"][side][name]
        tensor["num_channels"], tensor["spatial_shape"], tensor["channel_def"]
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{bundle / 'configs/metadata.json'}: network_data_format.{side}.{name} is not whole: "
            f"{error!r} is missing",
            hint="complete it as the MONAI Bundle Specification has it",
        ) from error
    return tensor


def _dicom(bundle: Path, metadata: Mapping[str, Any], given: Mapping[str, Code]) -> dict[str, Any]:
    image = _tensor(bundle, metadata, "inputs", "image")
    if image["num_channels"] != 1:
        raise ConfigError(
            f"{bundle.name} reads {image['num_channels']} channels at once, a series gives one",
            hint="choose a bundle that reads one series",
        )
    modality = str(image.get("modality", "")).upper()
    if modality not in _MODALITIES:
        raise ConfigError(
            f"{bundle.name} reads {modality or 'no named modality'}, not CT or MR",
            hint="write configs/dicom.json by hand; see bundles/README.md",
        )
    labels = _labels(_tensor(bundle, metadata, "outputs", "pred")["channel_def"])
    return {
        "accepts": {"modality": [modality], "min_instances": _FEWEST_IMAGES},
        "segments": [
            _segment(number, value, label, _code(label, given))
            for number, (value, label) in enumerate(labels.items(), start=1)
        ],
    }


def _labels(channels: Mapping[str, str]) -> dict[int, str]:
    """Label value → label; a single channel is above a threshold, and its value 1."""
    if len(channels) == 1:
        return {1: next(iter(channels.values()))}
    return {int(value): label for value, label in channels.items() if int(value) > 0}


def _code(label: str, given: Mapping[str, Code]) -> Code:
    if label in given:
        return given[label]
    name = "".join(word.capitalize() for word in label.replace("_", " ").split())
    try:
        found: Code = getattr(codes.SCT, name)
    except AttributeError as error:
        raise ConfigError(
            f"DICOM has no SNOMED CT concept of the name {label!r}",
            hint=f'give one: --code "{label}=SCT:VALUE:MEANING"',
        ) from error
    return found


def _segment(number: int, value: int, label: str, code: Code) -> dict[str, Any]:
    angle = number * _GOLDEN_ANGLE
    colour = [_LIGHTNESS, _CHROMA * math.cos(angle), _CHROMA * math.sin(angle)]
    return {
        "segment_number": number,
        "label_value": value,
        "label": label.replace("_", " ").capitalize(),
        "category": _ANATOMY,
        "type": {
            "value": code.value,
            "scheme": code.scheme_designator,
            "meaning": code.meaning,
        },
        "cielab": [round(each, 1) for each in colour],
        "tracking_id": label,
    }


def _export(bundle: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    ports = {
        port: _port(_tensor(bundle, metadata, side, name), name)
        for port, side, name in (("input", "inputs", "image"), ("output", "outputs", "pred"))
    }
    return {"networks": {bundle.name: {"config_id": "network_def", **ports}}}


def _port(tensor: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Lengths that are written as a rule, such as "16*n", may be any."""
    lengths = [size if isinstance(size, int) else -1 for size in tensor["spatial_shape"]]
    return {"name": name, "shape": [1, tensor["num_channels"], *lengths], "dtype": "float32"}


def parse_code(text: str) -> tuple[str, Code]:
    """`spleen=SCT:78961009:Spleen` → label and code. Raises ConfigError for another form."""
    label, equals, rest = text.partition("=")
    parts = rest.split(":", 2)
    if not equals or len(parts) != 3 or not all((label, *parts)):
        raise ConfigError(f"{text!r} is no code", hint='write "LABEL=SCHEME:VALUE:MEANING"')
    scheme, value, meaning = parts
    return label, Code(value, scheme, meaning)

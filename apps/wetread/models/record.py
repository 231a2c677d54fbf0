"""What `triton_models/` says of a network: its versions, and how each was built and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from wetread.errors import InferenceError
from wetread.files import write_atomically

RECORD = "build.json"


@dataclass(frozen=True, slots=True)
class Figures:
    """How far a network's answers are from those of the original in torch, on the same inputs.

    `mean_difference` is absolute; `share_of_spread` is the same divided by the standard deviation
    of the original's answers. `agreement` is Dice over the voxels of all labels but 0, or of a
    classifier the share of the images with the same class.
    """

    mean_difference: float
    share_of_spread: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Form:
    """The same weights in another file: of other precision, or a plan for one kind of GPU."""

    path: Path
    sha256: str
    figures: Figures

    @property
    def is_whole(self) -> bool:
        """Whether the file is there as it was written."""
        return self.path.is_file() and sha256_of(self.path) == self.sha256


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """One version of a network as ONNX in float32, and the other forms of it, by name."""

    network: str
    version: str
    path: Path
    onnx_sha256: str
    torch_sha256: str
    figures: Figures
    forms: Mapping[str, Form] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether its ONNX is there as it was written."""
        return self.path.is_file() and sha256_of(self.path) == self.onnx_sha256

    @property
    def summary(self) -> str:
        """One line for a person."""
        forms = "".join(
            f"; {name}: agreement {form.figures.agreement:.5f}" for name, form in self.forms.items()
        )
        return (
            f"version {self.version}, sha256 {self.onnx_sha256[:12]}, against torch: "
            f"agreement {self.figures.agreement:.5f}, "
            f"mean difference {self.figures.mean_difference:.1e}{forms}"
        )


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_folders(repository: Path, network: str) -> list[Path]:
    """The folders of a network that have a number, lowest first."""
    found = [folder for folder in (repository / network).glob("*") if folder.name.isdecimal()]
    return sorted(found, key=lambda folder: int(folder.name))


def write_record(built: BuiltModel, folder: Path) -> None:
    """Write it to a version's folder, where its files are or will be."""
    forms = {name: {**asdict(form), "path": form.path.name} for name, form in built.forms.items()}
    values = {**asdict(built), "path": built.path.name, "forms": forms}
    text = json.dumps(values, indent=2) + "\n"
    write_atomically(folder / RECORD, [text.encode()])


def install_form(built: BuiltModel, name: str, file: Path, figures: Figures) -> BuiltModel:
    """Move a file that was judged into its version's folder, and record it there."""
    place = built.path.with_name(file.name)
    form = Form(place, sha256_of(file), figures)
    file.replace(place)
    changed = replace(built, forms={**built.forms, name: form})
    write_record(changed, place.parent)
    return changed


def read_record(folder: Path) -> BuiltModel:
    """The record of a version. Raises InferenceError if there is none that can be read."""
    path = folder / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        forms = {name: Form(**_filled(form, folder)) for name, form in values["forms"].items()}
        return BuiltModel(**{**_filled(values, folder), "forms": forms})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InferenceError(
            f"{path}: not a build record: {error}", hint="wetread models build"
        ) from error


def _filled(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {**values, "path": folder / values["path"], "figures": Figures(**values["figures"])}

"""Many synthetic studies in one folder, with `labels.csv` and the truth about each."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wetread.errors import ConfigError, StorageError
from wetread.phantom.contrast import Modality
from wetread.phantom.files import write_dicom, write_nifti
from wetread.phantom.recipe import Recipe
from wetread.phantom.study import SyntheticStudy, make_study

Progress = Callable[[str, float], None]
# Of seven subjects of a class five train: 71 %, 14 % and 14 %.
_SPLITS = ("train", "train", "val", "train", "train", "test", "train")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `labels.csv`. `file` is relative to its folder: a folder, or a picture.

    `group` is what must stay within one split: the subject.
    """

    file: str
    label: str
    split: str
    group: str
    subject: str
    modality: str
    anatomy: str
    side: str
    lesion_ml: str


def write_studies(
    recipe: Recipe, count: int, output: Path, form: str, progress: Progress
) -> tuple[Row, ...]:
    """Write `count` subjects: `<subject>/…`, `<subject>/truth.json` and `labels.csv`.

    As DICOM there is a row for each series; as NIfTI one for each subject, whose `file` is the
    folder with all modalities, or the picture if a radiograph is all there is.

    Raises ConfigError if the folder holds anything, the format is unknown or the count is not
    positive; StorageError if it cannot be written.
    """
    if form not in _WRITERS:
        raise ConfigError(f"no format {form!r}", hint=f"there are: {', '.join(_WRITERS)}")
    if count < 1:
        raise ConfigError(f"{count} subjects", hint="at least 1")
    rows: list[Row] = []
    try:
        _check_empty(output)
        for number in range(count):
            study = make_study(recipe, number)
            progress(study.subject, number / count)
            rows.extend(_WRITERS[form](study, output))
            _write_truth(study, output / study.subject / "truth.json")
        _write_labels(rows, output / "labels.csv")
    except OSError as error:
        raise StorageError(
            f"cannot write to {output}: {error.strerror}", hint="check its mode and the disk"
        ) from error
    return tuple(rows)


def split_of(recipe: Recipe, number: int) -> str:
    """The split of a subject: each class is shared out by itself, and not in step."""
    classes = len(recipe.classes)
    return _SPLITS[(number // classes + number % classes) % len(_SPLITS)]


def truth_of(study: SyntheticStudy) -> dict[str, Any]:
    """What is known of a study: how it was made, each structure's volume and tissue, the lesion."""
    anatomy, recipe = study.anatomy, study.recipe
    volumes = anatomy.volumes_ml()
    return {
        "subject": study.subject,
        "split": split_of(recipe, study.number),
        "label": study.label,
        "recipe": asdict(recipe),
        "lesion": None if anatomy.lesion is None else asdict(anatomy.lesion),
        "structures": {
            structure.name: {
                "label_value": anatomy.label_value(structure.name),
                "volume_ml": volumes[structure.name],
                "tissue": asdict(structure.tissue),
            }
            for structure in anatomy.structures
        },
        "grid": {"shape": study.grid.shape, "affine_lps_mm": study.grid.affine.tolist()},
    }


def _dicom_rows(study: SyntheticStudy, output: Path) -> list[Row]:
    written = write_dicom(study, output / study.subject)
    return [_row(study, path, output, str(modality)) for modality, path in written.items()]


def _nifti_rows(study: SyntheticStudy, output: Path) -> list[Row]:
    folder = output / study.subject
    written = write_nifti(study, folder)
    path = written[Modality.DX] if list(written) == [Modality.DX] else folder
    return [_row(study, path, output, " ".join(written))]


_WRITERS: Mapping[str, Callable[[SyntheticStudy, Path], list[Row]]] = {
    "dicom": _dicom_rows,
    "nifti": _nifti_rows,
}


def _row(study: SyntheticStudy, path: Path, output: Path, modality: str) -> Row:
    lesion = study.anatomy.lesion
    return Row(
        file=path.relative_to(output).as_posix(),
        label=study.label,
        split=split_of(study.recipe, study.number),
        group=study.subject,
        subject=study.subject,
        modality=modality,
        anatomy=study.anatomy.kind,
        side="" if lesion is None else lesion.side,
        lesion_ml="0" if lesion is None else f"{lesion.volume_ml:.3f}",
    )


def _check_empty(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise ConfigError(
            f"{output} is not empty", hint="give a new folder: studies of two runs must not mix"
        )


def _write_truth(study: SyntheticStudy, path: Path) -> None:
    path.write_text(json.dumps(truth_of(study), indent=2) + "\n", encoding="utf-8")


def _write_labels(rows: list[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)

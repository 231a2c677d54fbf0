"""Corrections by readers as training cases: one folder each, whole or not there.

<annotations>/<bundle>/cases/<case id>/image.nii.gz    what was read
                                      /label.nii.gz    what a reader made of it, on its grid
                                      /case.json       who, when, from which model
<annotations>/<bundle>/holdout.json                    case ids that are never trained on
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from wetread.errors import InputError, StorageError
from wetread.files import sync_folder, write_atomically
from wetread.results import ModelIdentity

CASES = "cases"
HOLDOUT = "holdout.json"
CASE_FILE = "case.json"
IMAGE_FILE = "image.nii.gz"
LABEL_FILE = "label.nii.gz"
# A UID fits; nothing that leaves the folder does.
_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SAME_PLACE_MM = 1e-2
_HINT = "correct the file, or take the case's folder out"


class Review(StrEnum):
    """How far a label is: a model's own proposal, corrected by a reader, approved by another."""

    PROPOSED = "proposed"
    CORRECTED = "corrected"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class Correction:
    """One case that a reader annotated.

    `annotated_at` is aware. `from_model` is the model whose result was corrected, None if the label
    began empty. `subgroups` are facts such as sex, age and manufacturer. `others` are further keys
    of case.json, kept as they are. `place` is the case's folder, once it is written.
    """

    case_id: str
    series_instance_uid: str
    study_instance_uid: str
    annotator: str
    annotated_at: datetime
    from_model: ModelIdentity | None
    subgroups: Mapping[str, str]
    review: Review
    others: Mapping[str, Any] = field(default_factory=dict)
    place: Path = Path()

    @property
    def image(self) -> Path:
        """The image, NIfTI."""
        return self.place / IMAGE_FILE

    @property
    def label(self) -> Path:
        """Label values on the grid of the image, NIfTI."""
        return self.place / LABEL_FILE


def read_corrections(folder: Path, bundle: str) -> tuple[Correction, ...]:
    """The corrections for a bundle under a folder of annotations, the oldest first.

    None if there is no such folder yet. Raises InputError, naming the file, for a case that is not
    whole or whose case.json is not as it should be.
    """
    places = sorted((folder / bundle / CASES).glob("[!.]*"))
    found = [_read(place) for place in places if place.is_dir()]
    return tuple(sorted(found, key=lambda each: (each.annotated_at, each.case_id)))


def holdout_of(folder: Path, bundle: str) -> frozenset[str]:
    """The ids of the cases that are never trained on; none if nobody has named any yet.

    Raises InputError if holdout.json is no list of texts.
    """
    path = folder / bundle / HOLDOUT
    if not path.is_file():
        return frozenset()
    named = _json(path)
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise InputError(f"{path} is no list of case ids", hint='write it as ["case 1", "case 2"]')
    return frozenset(named)


def write_correction(
    folder: Path,
    bundle: str,
    correction: Correction,
    image: nibabel.Nifti1Image,
    label: nibabel.Nifti1Image,
) -> Correction:
    """Add a case, which readers see whole or not at all; gives the correction with its place.

    Raises InputError for an id that is no name of a folder or that is taken, and for a label that
    is not on the grid of its image; StorageError if it cannot be written.
    """
    if not _CASE_ID.fullmatch(correction.case_id):
        raise InputError(
            f"case id {correction.case_id!r} is no name for a folder",
            hint="use letters, digits, dots, dashes and underscores, at most 128",
        )
    _check_grid(correction.case_id, image, label)
    place = folder / bundle / CASES / correction.case_id
    aside = place.with_name(f".{correction.case_id}.part")
    if place.exists():
        raise InputError(f"{place} is there already", hint="give the correction another case id")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        write_atomically(aside / IMAGE_FILE, [_packed(image)])
        write_atomically(aside / LABEL_FILE, [_packed(label)])
        write_atomically(aside / CASE_FILE, [_text(correction)])
        aside.rename(place)
        sync_folder(place.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {place}: {error.strerror}", hint="check the folder's owner and mode"
        ) from error
    return _read(place)


def rewrite_case(correction: Correction) -> None:
    """Write the case.json of a case again, as when its review goes on. Raises StorageError."""
    write_atomically(correction.place / CASE_FILE, [_text(correction)])


def write_holdout(folder: Path, bundle: str, case_ids: Collection[str]) -> None:
    """Name the cases that are never trained on. Raises StorageError."""
    text = json.dumps(sorted(case_ids), indent=2) + "\n"
    write_atomically(folder / bundle / HOLDOUT, [text.encode()])


def _text(correction: Correction) -> bytes:
    model = correction.from_model
    values = {
        "case_id": correction.case_id,
        "series_instance_uid": correction.series_instance_uid,
        "study_instance_uid": correction.study_instance_uid,
        "annotator": correction.annotator,
        "annotated_at": correction.annotated_at.isoformat(),
        "from_model": None if model is None else asdict(model),
        "subgroups": dict(correction.subgroups),
        "review": str(correction.review),
        **correction.others,
    }
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _packed(image: nibabel.Nifti1Image) -> bytes:
    # Without a time in it, the same image gives the same bytes.
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _check_grid(case_id: str, image: nibabel.Nifti1Image, label: nibabel.Nifti1Image) -> None:
    if image.shape != label.shape:
        raise InputError(
            f"case {case_id}: the image is {image.shape}, its label {label.shape}",
            hint="give the label on the grid of its image",
        )
    apart = float(np.abs(np.asarray(image.affine) - np.asarray(label.affine)).max())
    if apart > _SAME_PLACE_MM:
        raise InputError(
            f"case {case_id}: the affines of image and label differ by {apart:.3g} mm",
            hint="give the label on the grid of its image",
        )


def _read(place: Path) -> Correction:
    path = place / CASE_FILE
    values = _json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} is no JSON object", hint=_HINT)
    for name in (IMAGE_FILE, LABEL_FILE):
        if not (place / name).is_file():
            raise InputError(f"{place} has no {name}", hint=_HINT)
    rest = dict(values)
    correction = Correction(
        case_id=_word(path, rest, "case_id"),
        series_instance_uid=_word(path, rest, "series_instance_uid"),
        study_instance_uid=_word(path, rest, "study_instance_uid"),
        annotator=_word(path, rest, "annotator"),
        annotated_at=_moment(path, rest),
        from_model=_model(path, rest),
        subgroups=_subgroups(path, rest),
        review=_review(path, rest),
        others=rest,
        place=place,
    )
    if correction.case_id != place.name:
        raise InputError(f"{path}: case_id is {correction.case_id!r}", hint=_HINT)
    return correction


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=_HINT) from error


def _word(path: Path, values: dict[str, Any], key: str) -> str:
    found = values.pop(key, None)
    if not isinstance(found, str) or not found:
        raise InputError(f"{path}: {key} must be a text, got {found!r}", hint=_HINT)
    return found


def _moment(path: Path, values: dict[str, Any]) -> datetime:
    text = _word(path, values, "annotated_at")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{path}: annotated_at is {text!r}", hint=_HINT) from error
    if moment.tzinfo is None:
        raise InputError(
            f"{path}: annotated_at {text} has no zone", hint="write it as 2026-03-04T05:06:07+00:00"
        )
    return moment


def _model(path: Path, values: dict[str, Any]) -> ModelIdentity | None:
    found = values.pop("from_model", None)
    if found is None:
        return None
    if not isinstance(found, dict):
        raise InputError(f"{path}: from_model must be an object or null", hint=_HINT)
    keys = ("name", "version", "weights_sha256")
    return ModelIdentity(*(_word(path, dict(found), key) for key in keys))


def _subgroups(path: Path, values: dict[str, Any]) -> Mapping[str, str]:
    found = values.pop("subgroups", {})
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise InputError(f"{path}: subgroups must be texts by name, got {found!r}", hint=_HINT)
    return found


def _review(path: Path, values: dict[str, Any]) -> Review:
    text = _word(path, values, "review")
    try:
        return Review(text)
    except ValueError as error:
        raise InputError(
            f"{path}: review is {text!r}", hint=f"one of {', '.join(Review)}"
        ) from error

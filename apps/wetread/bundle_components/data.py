"""Lists of cases for training and evaluation, from folders as they are published."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Case = dict[str, str]

# Without a splits.json, every fifth case in the order of their names is for validation.
_EVERY = 5
HOLD_OUT_SHARE = 0.2


class DataFolderError(ValueError):
    """A folder of data does not hold what its form asks for."""


def is_held_out(name: str) -> bool:
    """Whether an image is kept for the comparison of models: one in five, by a hash of its name.

    It is the same wherever and whenever it is asked, so that nothing that a model was trained on is
    ever what it is judged by.
    """
    return hashlib.sha256(name.encode()).digest()[0] / 256 < HOLD_OUT_SHARE


def usual_split(folder: str | Path) -> str:
    """The split that is evaluated if none is named: "val" if the folder has one, else "test".

    "all" where neither is told apart. Raises DataFolderError for a file that cannot be read.
    """
    root = Path(folder)
    if (root / "labels.csv").is_file():
        named = {row["split"] for row in _labelled_rows(root)}
    else:
        path = root / "splits.json"
        named = set(_json(path)) if path.is_file() else set()
    return next((split for split in ("val", "test") if split in named), "all")


def decathlon_cases(folder: str | Path, split: str) -> list[Case]:
    """The cases of one split of a folder in the form of the Medical Segmentation Decathlon.

    `dataset.json` lists the cases, each with `image` and `label` relative to the folder.
    `splits.json` beside it, if there is one, names the image files of each split; a split that it
    does not know is an error. Without it "train" and "val" are four and one of every five cases,
    and "all" is every case.

    Raises DataFolderError, naming what is missing.
    """
    root = Path(folder)
    cases = _listed(root)
    if split == "all":
        return cases
    names = _split_names(root, split, [Path(case["image"]).name for case in cases])
    by_name = {Path(case["image"]).name: case for case in cases}
    absent = [name for name in names if name not in by_name]
    if absent:
        raise DataFolderError(
            f"{root / 'splits.json'}: {split} names {len(absent)} files that dataset.json does "
            f"not list, such as {absent[0]}"
        )
    return [by_name[name] for name in names]


def _listed(root: Path) -> list[Case]:
    path = root / "dataset.json"
    training = _list(path, _json(path), "training")
    return [
        {key: str((root / case[key]).resolve()) for key in ("image", "label")} for case in training
    ]


def _split_names(root: Path, split: str, names: Sequence[str]) -> list[str]:
    path = root / "splits.json"
    if path.is_file():
        splits = _json(path)
        if split not in splits:
            raise DataFolderError(f"{path} has no {split!r}, only {', '.join(splits)}")
        return [str(name) for name in _list(path, splits, split)]
    if split not in ("train", "val"):
        raise DataFolderError(f"{root} has no splits.json, so there is no {split!r}")
    ordered = sorted(names)
    return [name for place, name in enumerate(ordered) if (place % _EVERY == 0) == (split == "val")]


def _list(path: Path, content: dict[str, Any], key: str) -> list[Any]:
    found = content.get(key)
    if not isinstance(found, list) or not found:
        raise DataFolderError(f"{path}: {key} must be a list with at least one entry")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataFolderError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataFolderError(f"{path} is no JSON object")
    return content


# The columns that may say who or what a picture shows, the first that is there counts: pictures of
# one group never lie in two splits.
GROUP_COLUMNS = ("group", "patient", "subject", "similarity_group")
# Without a column "split", groups are dealt out by the hash of their name: 70 %, 15 % and 15 %.
_SHARES = (("train", 0.70), ("val", 0.85), ("test", 1.0))


def labelled_files(folder: str | Path, split: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The files of one split of a folder that has a `labels.csv`, as `image`, `label` and `group`.

    Its columns are `file` (relative to the folder; a file, or a folder of NIfTI files), `label`,
    and if they are there `split` and a group (`GROUP_COLUMNS`). `label` becomes the number of the
    class in `classes`, from 0. "all" is every file. All other columns go along as they are.

    Raises DataFolderError if a column, a file or a class is not known, and if two splits share a
    group or a file of the same bytes: what is measured on them would be remembered, not recognised.
    """
    root = Path(folder)
    rows = _labelled_rows(root)
    refuse_shared(root, rows)
    known = {name: number for number, name in enumerate(classes)}
    strange = sorted({row["label"] for row in rows} - set(known))
    if strange:
        raise DataFolderError(
            f"{root / 'labels.csv'}: label {strange[0]!r} is none of {', '.join(classes)}"
        )
    chosen = [row for row in rows if split in ("all", row["split"])]
    absent = [row["file"] for row in chosen if not (root / row["file"]).exists()]
    if absent:
        raise DataFolderError(
            f"{root / 'labels.csv'} names {absent[0]} and {len(absent) - 1} more that are not there"
        )
    if not chosen:
        splits = ", ".join(sorted({row["split"] for row in rows}))
        raise DataFolderError(f"{root / 'labels.csv'} has no split {split!r}, only {splits}")
    return [
        {**row, "image": str(root / row["file"]), "label": known[row["label"]]} for row in chosen
    ]


def refuse_shared(root: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Raise DataFolderError if two splits share a group, or a file of the same bytes.

    A split may be kept elsewhere: files that are not there have no bytes to compare.
    """
    seen: dict[str, tuple[str, str]] = {}
    for row in rows:
        path = root / row["file"]
        keys = [("group", row["group"])]
        if path.exists():
            keys.append(("content", _digest(path)))
        for kind, key in keys:
            split, file = seen.setdefault(f"{kind} {key}", (row["split"], row["file"]))
            if split != row["split"]:
                what = f"group {key}" if kind == "group" else "the same picture"
                raise DataFolderError(
                    f"{root / 'labels.csv'}: {what} is in {split} ({file}) and in "
                    f"{row['split']} ({row['file']}); keep it in one of them"
                )


def _labelled_rows(root: Path) -> list[dict[str, str]]:
    path = root / "labels.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataFolderError(f"{path}: {error}") from error
    absent = [name for name in ("file", "label") if not rows or name not in rows[0]]
    if absent:
        raise DataFolderError(f"{path} must have lines with the columns file and label")
    if any(not row["file"] or not row["label"] for row in rows):
        raise DataFolderError(f"{path} has a line without file or label")
    column = next((name for name in GROUP_COLUMNS if name in rows[0]), "file")
    grouped = [{**row, "group": row[column] or row["file"]} for row in rows]
    return [{**row, "split": row.get("split") or _dealt(row["group"])} for row in grouped]


def _dealt(group: str) -> str:
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32
    return next(split for split, upper in _SHARES if place < upper)


def _digest(path: Path) -> str:
    """Of a file's bytes; of a folder's NIfTI files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.nii*")) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()

"""Lists of cases for training and evaluation, from folders as they are published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Case = dict[str, str]

# Without a splits.json, every fifth case in the order of their names is for validation.
_EVERY = 5


class DataFolderError(ValueError):
    """A folder of data does not hold what its form asks for."""


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

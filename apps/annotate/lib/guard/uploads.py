"""An uploaded file on disk, under a name of ours, for as long as it is needed."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from fastapi import UploadFile

from lib.errors import NotAllowedError

IMAGES = (".nii.gz", ".nii")
VOLUMES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".dcm")
SCRIBBLES = (*VOLUMES, ".bin")
WEIGHTS = (".pt",)
_ENDING = re.compile(r"((?:\.seg|\.nii)?\.[a-z0-9]{1,8})$", re.ASCII)


def ending_of(name: str | None, allowed: tuple[str, ...] = ()) -> str:
    """What the name ends with; viewers send whole paths of their own machines, which say nothing.

    Raises NotAllowedError if it is none of `allowed`, where there are any.
    """
    last = PureWindowsPath(name or "").name.lower()
    found = _ENDING.search(last)
    ending = found[1] if found else ""
    if allowed and ending not in allowed:
        raise NotAllowedError(
            f"a file named {last[:64]!r}", hint=f"its name ends with one of {', '.join(allowed)}"
        )
    return ending


@contextmanager
def on_disk(upload: UploadFile, allowed: tuple[str, ...] = ()) -> Iterator[Path]:
    """The file in a folder of its own that is removed afterwards. Raises as `ending_of`."""
    ending = ending_of(upload.filename, allowed)
    with tempfile.TemporaryDirectory(prefix="wetread-upload-") as folder:
        path = Path(folder) / f"upload{ending}"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        yield path

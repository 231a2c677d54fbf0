"""An uploaded file on disk, under a name of ours, for as long as it is needed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from fastapi import UploadFile

from lib.errors import NotAllowedError

# The longest first: a name ends with the first that fits.
IMAGES = (".nii.gz", ".nii")
MASKS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".bin")
VOLUMES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".dcm")
WEIGHTS = (".pt",)


def ending_of(name: str | None, allowed: tuple[str, ...]) -> str:
    """What the name ends with; viewers send whole paths of their own machines, which say nothing.

    Raises NotAllowedError if it is none of those.
    """
    last = PureWindowsPath(name or "").name.lower()
    for ending in allowed:
        if last.endswith(ending):
            return ending
    raise NotAllowedError(
        f"a file named {last[:64]!r}", hint=f"its name must end with one of {', '.join(allowed)}"
    )


@contextmanager
def on_disk(upload: UploadFile, allowed: tuple[str, ...]) -> Iterator[Path]:
    """The file in a folder of its own that is removed afterwards. Raises as `ending_of`."""
    ending = ending_of(upload.filename, allowed)
    with tempfile.TemporaryDirectory(prefix="wetread-upload-") as folder:
        path = Path(folder) / f"upload{ending}"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        yield path

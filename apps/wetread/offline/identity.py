"""De-identifying a folder, and giving results back to the originals."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset

from wetread.config import DeidentifyConfig
from wetread.deidentify.dataset import Deidentifier
from wetread.deidentify.pseudonyms import Pseudonyms
from wetread.deidentify.restore import Reidentifier
from wetread.dicom.files import find_instances, unpacked
from wetread.dicom.opening import open_dataset
from wetread.errors import InputError
from wetread.files import write_atomically


@dataclass(frozen=True, slots=True)
class Done:
    """One file: where the new one is, or why there is none."""

    source: str
    target: str | None
    why: str = ""


def deidentify_path(path: Path, out: Path, config: DeidentifyConfig) -> list[Done]:
    """De-identify every instance of a file, folder or ZIP archive into `out`, by its new UIDs.

    Raises ConfigError for the key, InputError if nothing of it is DICOM, StorageError.
    """
    deidentifier = Deidentifier(config)
    with unpacked(path) as folder:
        return [
            _deidentified(deidentifier, each.path, out, folder) for each in find_instances(folder)
        ]


def _deidentified(deidentifier: Deidentifier, path: Path, out: Path, folder: Path) -> Done:
    shown = _shown(path, folder)
    try:
        made = deidentifier.apply(open_dataset(path, ()), path)
    except InputError as error:
        return Done(shown, None, error.message)
    return Done(shown, _written(made, out))


def reidentify_path(path: Path, originals: Path, out: Path, key_file: Path) -> list[Done]:
    """Put what belongs to the originals into the results at `path`; new files in `out`.

    Raises ConfigError for the key, InputError if a result belongs to none of the originals or a
    file cannot be read, StorageError.
    """
    pseudonyms = Pseudonyms.from_file(key_file)
    with unpacked(originals) as before, unpacked(path) as folder:
        known = (open_dataset(each.path, ()) for each in find_instances(before))
        reidentifier = Reidentifier(pseudonyms, known)
        results = {each.path: open_dataset(each.path, ()) for each in find_instances(folder)}
        restored = reidentifier.apply(results)
        return [Done(_shown(each, folder), _written(made, out)) for each, made in restored.items()]


def _shown(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path != folder else path.name


def _written(made: Dataset, out: Path) -> str:
    place = out / str(made.StudyInstanceUID) / str(made.SeriesInstanceUID)
    target = place / f"{made.SOPInstanceUID}.dcm"
    content = BytesIO()
    made.save_as(content, enforce_file_format=True)
    write_atomically(target, [content.getbuffer()])
    return str(target)

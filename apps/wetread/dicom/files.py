"""DICOM objects on disk, as if they had been received: a file, a folder or a ZIP archive."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from wetread.dicom.opening import Kind, kind_of, open_dataset
from wetread.errors import InputError
from wetread.study import ReceivedInstance

NIFTI_SUFFIXES = (".nii", ".nii.gz")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# A media directory is DICOM and no instance of a series (PS3.3 F).
_DICOMDIR = "1.2.840.10008.1.3.10"


def is_nifti(path: Path) -> bool:
    """Whether the name says that the file is NIfTI."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def is_picture(path: Path) -> bool:
    """Whether the name says that the file is PNG or JPEG."""
    return path.name.lower().endswith(PICTURE_SUFFIXES)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The path itself, or for a ZIP archive a folder with its content that is removed afterwards.

    Raises InputError if there is nothing at `path` or the archive is broken.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder", hint="check the path")
    if not (path.is_file() and zipfile.is_zipfile(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="wetread-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{path}: cannot unpack: {error}", hint="unpack it by hand") from error
        yield Path(folder)


def find_instances(path: Path) -> tuple[ReceivedInstance, ...]:
    """Every DICOM instance in a file or under a folder, by path; other files are passed by.

    Raises InputError if there is none at all, and for a DICOM file that does not name itself or
    cannot be parsed: it must not be missing silently.
    """
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    found = tuple(instance for file in files if (instance := instance_at(file)) is not None)
    if not found:
        raise InputError(
            f"{path}: no DICOM file among {len(files)} files",
            hint="give a folder, a file or a ZIP archive of one study, or a .nii.gz file",
        )
    return found


def instance_at(path: Path) -> ReceivedInstance | None:
    """The instance in a file; None for a file that is no DICOM, and for a media directory.

    Raises InputError for a DICOM file that does not name itself or cannot be parsed.
    """
    if kind_of(path) is Kind.OTHER:
        return None
    header = open_dataset(path, _UIDS, only=_UIDS)
    if str(header.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR:
        return None
    uids = [str(header.get(keyword) or "") for keyword in _UIDS]
    absent = [keyword for keyword, uid in zip(_UIDS, uids, strict=True) if not uid]
    if absent:
        raise InputError(
            f"{path.name}: no {', '.join(absent)}", hint="remove the file, or ask for a whole one"
        )
    study, series, instance, sop_class = uids
    return ReceivedInstance(
        path=path,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        transfer_syntax_uid=str(header.file_meta.get("TransferSyntaxUID", "")),
        calling_ae_title="",
        called_ae_title="",
        received_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
    )

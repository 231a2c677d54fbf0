"""`wetread check data`: what can be read of what lies on disk, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from wetread.dicom.attributes import read_study
from wetread.dicom.files import instance_at, unpacked
from wetread.dicom.headers import is_image, read_image
from wetread.dicom.opening import Kind, kind_of
from wetread.dicom.volume import check_alone, load_volume
from wetread.errors import InputError, StorageError, WetreadError
from wetread.infer.base import Progress, no_progress
from wetread.study import ReceivedInstance, Series

_LEFT_OUT = "it is left out"


class Verdict(StrEnum):
    """What becomes of a file that a model should read."""

    READABLE = "readable"
    REFUSED = "refused"
    NOT_AN_IMAGE = "not_an_image"


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """One file, its Series Instance UID ("" if unknown), and why it is not readable."""

    file: Path
    series: str
    verdict: Verdict
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: str(getattr(self, name)) for name in self.__dataclass_fields__}


def check_data(path: Path, progress: Progress = no_progress) -> list[FileVerdict]:
    """Judge every file under `path`, by path, as if all of them had been sent.

    A file is readable if the series that it belongs to loads with it. The reason of one that is
    refused is its own fault, or else that of its series. `progress` is told how many files are
    done, and the share of them.

    Raises InputError if there is no such path, or no file in it.
    """
    with unpacked(path) as folder:
        files = [folder] if folder.is_file() else [*filter(Path.is_file, folder.rglob("*"))]
        if not files:
            raise InputError(f"{path}: no file in it", hint="give the folder of a study")
        verdicts: dict[Path, FileVerdict] = {}
        series: dict[tuple[str, str], list[ReceivedInstance]] = {}
        for file in sorted(files):
            found = _first_look(file)
            if isinstance(found, FileVerdict):
                verdicts[file] = found
            else:
                uids = found.study_instance_uid, found.series_instance_uid
                series.setdefault(uids, []).append(found)
        for instances in series.values():
            progress(f"{len(verdicts)} of {len(files)} files", len(verdicts) / len(files))
            verdicts.update({each.file: each for each in _judge_series(instances)})
        base = folder if folder.is_dir() else folder.parent
        return [replace(verdicts[file], file=file.relative_to(base)) for file in sorted(files)]


def _first_look(file: Path) -> FileVerdict | ReceivedInstance:
    """Which series a file belongs to, or what it is where it belongs to none."""
    try:
        found = instance_at(file)
        if found is not None:
            return found
        is_dicom = kind_of(file) is Kind.PART10
    except (InputError, StorageError) as error:
        return FileVerdict(file, "", Verdict.REFUSED, _reason(error, file))
    reason = "a DICOM media directory" if is_dicom else "no DICOM file"
    return FileVerdict(file, "", Verdict.NOT_AN_IMAGE, reason)


def _judge_series(instances: Sequence[ReceivedInstance]) -> Iterator[FileVerdict]:
    try:
        stacks = read_study(instances, stack_by_stack=True).series
    except (InputError, StorageError) as error:
        yield from _refused(instances, error)
        return
    for stack in stacks:
        yield from _judge_stack(stack)
    in_stacks = {instance.path for stack in stacks for instance in stack.instances}
    aside = [instance for instance in instances if instance.path not in in_stacks]
    yield from _refused(aside, InputError("it is no slice of the series's stack", hint=_LEFT_OUT))


def _judge_stack(series: Series) -> Iterator[FileVerdict]:
    try:
        load_volume(series)
    except (InputError, StorageError) as error:
        yield from _refused(series.instances, error)
        return
    for instance in series.instances:
        yield FileVerdict(instance.path, instance.series_instance_uid, Verdict.READABLE)


def _refused(
    instances: Sequence[ReceivedInstance], series_error: WetreadError
) -> Iterator[FileVerdict]:
    """Each file with what is wrong with itself, else with its series."""
    for instance in instances:
        uid = instance.series_instance_uid
        error = series_error
        try:
            image = read_image(instance.path)
            if not is_image(image):
                kind = UID(instance.sop_class_uid).name
                yield FileVerdict(instance.path, uid, Verdict.NOT_AN_IMAGE, f"{kind}, no image")
                continue
            check_alone(image)
        except (InputError, StorageError) as own:
            error = own
        reason = _reason(error, instance.path)
        yield FileVerdict(instance.path, uid, Verdict.REFUSED, reason)


def _reason(error: WetreadError, file: Path) -> str:
    """The fact and what to do, without what the other columns say."""
    fact = error.message.removeprefix(f"series {error.series_instance_uid}: ")
    fact = fact.removeprefix(f"{file.name}: ")
    return f"{fact}; {error.hint}" if error.hint else fact

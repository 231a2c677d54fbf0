"""What a destination is, what it answers, and one that keeps everything in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from wetread.errors import DestinationUnavailableError, InputError, StorageError, WetreadError


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """A destination has the object.

    `status` is what it answered in its own terms ("0000", "HTTP 200", "written"), `meaning` the
    words for it; a warning is named there. `seconds` is how long it took.
    """

    destination: str
    sop_instance_uid: str
    status: str
    meaning: str
    seconds: float

    @property
    def answer(self) -> str:
        """One line for the ledger."""
        return f"{self.status}: {self.meaning}"


class Destination(Protocol):
    """Somewhere to send results. Safe to be called from several threads."""

    @property
    def name(self) -> str:
        """The name in wetread.toml."""
        ...

    def send(self, object_path: Path) -> DeliveryReceipt:
        """Give the object in that Part-10 file to the destination, its data set unchanged.

        Raises DestinationUnavailableError if it cannot be reached just now, another DeliveryError
        if it refuses, InputError or StorageError if the file cannot be read.
        """
        ...

    def test(self) -> str:
        """Ask the destination whether it is there, without storing anything; raises as `send`."""
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a file says of itself: enough to propose a context and to name a folder."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int

    def read_bytes(self) -> bytes:
        """The whole file. Raises StorageError."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise _cannot_read(self.path, error) from error


_UIDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


def read_object(path: Path) -> StoredObject:
    """Read the UIDs of a Part-10 file. Raises StorageError or InputError."""
    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_UIDS))
        size_bytes = path.stat().st_size
    except InvalidDicomError as error:
        raise InputError(
            f"{path} is no DICOM file", hint="only objects that wetread wrote are delivered"
        ) from error
    except OSError as error:
        raise _cannot_read(path, error) from error
    uids = [str(dataset.get(keyword, "")) for keyword in _UIDS]
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if not (syntax and all(uids)):
        raise InputError(
            f"{path} lacks one of {', '.join(_UIDS)} or its transfer syntax",
            hint="only objects that wetread wrote are delivered",
        )
    sop_class, sop_instance, study, series = uids
    return StoredObject(path, sop_class, sop_instance, study, series, syntax, size_bytes)


def _cannot_read(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot read {path}: {error.strerror}", hint="check that the spool's disk is mounted"
    )


class MemoryDestination:
    """Keeps the bytes of what it is sent; can be told to fail first.

    `failures` tries raise `error` before one succeeds. `received` holds the file's bytes by SOP
    Instance UID, `sends` counts every try.
    """

    def __init__(
        self,
        name: str = "memory",
        failures: int = 0,
        error: Callable[[], WetreadError] | None = None,
    ) -> None:
        self.name = name
        self.received: dict[str, bytes] = {}
        self.sends = 0
        self._failures = failures
        self._error = error or self._unavailable

    def send(self, object_path: Path) -> DeliveryReceipt:
        """Keep the file's bytes, unless there are failures left."""
        started = time.perf_counter()
        self.sends += 1
        if self._failures > 0:
            self._failures -= 1
            raise self._error()
        found = read_object(object_path)
        self.received[found.sop_instance_uid] = found.read_bytes()
        seconds = time.perf_counter() - started
        return DeliveryReceipt(self.name, found.sop_instance_uid, "kept", "in memory", seconds)

    def test(self) -> str:
        """Always there, unless there are failures left."""
        if self._failures > 0:
            raise self._error()
        return f"{self.name} keeps objects in memory"

    def _unavailable(self) -> DestinationUnavailableError:
        return DestinationUnavailableError(f"{self.name} was told to fail", stage="deliver")

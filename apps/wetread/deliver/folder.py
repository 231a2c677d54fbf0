"""Delivery into a folder: `<study>/<series>/<sop>.dcm`."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from wetread.config import FolderDestination
from wetread.deliver.base import DeliveryReceipt, StoredObject, read_object
from wetread.errors import DestinationUnavailableError, InputError, StorageError
from wetread.files import write_atomically

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class FileDestination:
    """A folder that something else watches: a file appears there whole, under its final name."""

    def __init__(self, name: str, config: FolderDestination) -> None:
        self.name = name
        self._folder = config.path

    def send(self, object_path: Path) -> DeliveryReceipt:
        """Write a copy of the file. Raises DestinationUnavailableError if the folder is not there
        or cannot take it."""
        started = time.perf_counter()
        found = read_object(object_path)
        path = self._place(found)
        content = found.read_bytes()
        self._check_folder()
        try:
            write_atomically(path, [content])
        except StorageError as error:
            raise DestinationUnavailableError(
                f"{self.name}: {error.message}", hint=error.hint, stage="deliver"
            ) from error
        seconds = time.perf_counter() - started
        return DeliveryReceipt(self.name, found.sop_instance_uid, "written", str(path), seconds)

    def test(self) -> str:
        """Whether the folder is there and may be written; nothing is written."""
        self._check_folder()
        return f"{self.name} ({self._folder}) can be written"

    def _check_folder(self) -> None:
        # A folder made here would hide that a share is not mounted.
        if not (self._folder.is_dir() and os.access(self._folder, os.W_OK | os.X_OK)):
            raise DestinationUnavailableError(
                f"{self.name}: the folder {self._folder} does not exist or cannot be written",
                hint="make it, or mount the share; check its owner and mode",
                stage="deliver",
            )

    def _place(self, found: StoredObject) -> Path:
        uids = (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid)
        for uid in uids:
            if len(uid) > 64 or not _UID.fullmatch(uid):
                raise InputError(
                    f"{found.path}: {uid[:64]!r} is not a UID",
                    hint="only objects that wetread wrote are delivered",
                )
        return self._folder / uids[0] / uids[1] / f"{uids[2]}.dcm"

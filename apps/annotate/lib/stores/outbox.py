"""Labels on their way to the archive: kept here until it has them, across a crash too."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread

from lib.errors import ArchiveError
from lib.files import write_whole

_SUCCESS = "ReferencedSOPSequence"


class Outbox:
    """One file an object, in `folder`; what is sent twice has the same UID."""

    def __init__(self, client: DICOMwebClient, folder: Path) -> None:
        self._client = client
        self._folder = folder

    def send(self, dataset: Dataset) -> None:
        """Keep it, then store it by STOW-RS (PS3.18 10.5) with all that waits.

        Raises ArchiveError if the archive refuses it or is out of reach; it stays here then.
        """
        buffer = BytesIO()
        dataset.save_as(buffer, write_like_original=False)
        write_whole(self._folder / f"{dataset.SOPInstanceUID}.dcm", buffer.getvalue())
        self.flush()

    def flush(self) -> int:
        """Send all that waits, and say how many that were. Raises as `send`."""
        waiting = sorted(self._folder.glob("*.dcm"), key=lambda path: path.stat().st_mtime_ns)
        for path in waiting:
            self._store(path)
            path.unlink()
        return len(waiting)

    def __len__(self) -> int:
        return len(list(self._folder.glob("*.dcm")))

    def _store(self, path: Path) -> None:
        try:
            answer = self._client.store_instances([dcmread(path)])
        except (requests.RequestException, OSError) as error:
            raise ArchiveError(
                f"the archive did not take label {path.stem}: {error}",
                hint="it is kept, and is sent with the next label or at the next start",
            ) from error
        if _SUCCESS not in answer or "FailedSOPSequence" in answer:
            raise ArchiveError(
                f"the archive refused label {path.stem}",
                hint="it is kept; look into the archive's log",
            )

"""Labels on their way to the archive: kept here until it has them, across a crash too."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread

from lib.errors import ArchiveError, RefusedError
from lib.files import write_whole

_STORED = "ReferencedSOPSequence"


class Outbox:
    """One file an object, in `folder`; what is sent twice has the same UID."""

    def __init__(self, client: DICOMwebClient, folder: Path) -> None:
        self._client = client
        self._folder = folder

    def send(self, dataset: Dataset) -> None:
        """Keep it, then store it by STOW-RS (PS3.18 10.5) with all that waits.

        Raises ArchiveError if the archive is out of reach, RefusedError if it refuses; it stays
        here then.
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
        stored = {str(each.ReferencedSOPInstanceUID) for each in answer.get(_STORED, [])}
        if path.stem not in stored:
            failed = answer.get("FailedSOPSequence") or [Dataset()]
            reason = failed[0].get("FailureReason", 0)
            # What is refused once would be refused again, and must not hold up the others.
            place = path.parent / "refused" / path.name
            place.parent.mkdir(exist_ok=True)
            path.rename(place)
            raise RefusedError(
                f"the archive refused label {path.stem}, reason 0x{reason:04X}",
                hint=f"it is kept as {place.relative_to(self._folder.parent)}; ask the archive why",
            )

"""A destination that gets every object de-identified; the object in the spool stays as it is."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from wetread.config import DeidentifyConfig
from wetread.deidentify.dataset import Deidentifier
from wetread.deliver.base import DeliveryReceipt, Destination
from wetread.dicom.opening import open_dataset
from wetread.files import write_atomically


class DeidentifiedDestination:
    """Stands before another destination. The same object is sent with the same bytes each time.

    Raises ConfigError if the key cannot be read.
    """

    def __init__(self, inner: Destination, config: DeidentifyConfig) -> None:
        self._inner = inner
        self._deidentifier = Deidentifier(config)

    @property
    def name(self) -> str:
        """The destination's."""
        return self._inner.name

    def send(self, object_path: Path) -> DeliveryReceipt:
        """De-identify a copy and send it. Raises InputError for one that cannot be, and as the
        destination does."""
        original = open_dataset(object_path, ())
        made = self._deidentifier.apply(original, object_path)
        content = BytesIO()
        made.save_as(content, enforce_file_format=True)
        with tempfile.TemporaryDirectory(prefix="wetread-") as folder:
            path = Path(folder) / object_path.name
            write_atomically(path, [content.getbuffer()])
            receipt = self._inner.send(path)
        # The ledger knows the object by its own UID.
        return replace(receipt, sop_instance_uid=str(original.SOPInstanceUID))

    def test(self) -> str:
        """As the destination says."""
        return f"{self._inner.test()}; gets objects de-identified"

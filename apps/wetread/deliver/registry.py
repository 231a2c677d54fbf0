"""From a destination's configuration to the destination. A new kind needs one line here."""

from __future__ import annotations

from wetread.config import DestinationConfig, DicomDestination, DicomwebDestination
from wetread.deliver.base import Destination
from wetread.deliver.dicom import CStoreDestination
from wetread.deliver.dicomweb import StowDestination
from wetread.deliver.folder import FileDestination


def open_destination(name: str, config: DestinationConfig) -> Destination:
    """The destination of that name; nothing is connected yet.

    Raises ConfigError if a password or token file cannot be read.
    """
    if isinstance(config, DicomDestination):
        return CStoreDestination(name, config)
    if isinstance(config, DicomwebDestination):
        return StowDestination(name, config)
    return FileDestination(name, config)

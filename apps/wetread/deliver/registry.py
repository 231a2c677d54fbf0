"""From a destination's configuration to the destination. A new kind needs one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wetread.config import (
    DeidentifyConfig,
    DestinationConfig,
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    Hl7Destination,
)
from wetread.deliver.base import Destination
from wetread.deliver.deidentified import DeidentifiedDestination
from wetread.deliver.dicom import CStoreDestination
from wetread.deliver.dicomweb import StowDestination
from wetread.deliver.fhir import FhirServer
from wetread.deliver.folder import FileDestination
from wetread.deliver.mllp import MllpDestination


def open_destination(
    name: str,
    config: DestinationConfig,
    deidentify: Mapping[str, DeidentifyConfig] = MappingProxyType({}),
) -> Destination:
    """The destination of that name; nothing is connected yet. `deidentify` are the tables that it
    may name.

    Raises ConfigError if a file with a password, a token or a key cannot be read.
    """
    found = _of_kind(name, config)
    if config.deidentify:
        return DeidentifiedDestination(found, deidentify[config.deidentify])
    return found


def _of_kind(name: str, config: DestinationConfig) -> Destination:
    if isinstance(config, DicomDestination):
        return CStoreDestination(name, config)
    if isinstance(config, DicomwebDestination):
        return StowDestination(name, config)
    if isinstance(config, Hl7Destination):
        return MllpDestination(name, config)
    if isinstance(config, FhirDestination):
        return FhirServer(name, config)
    return FileDestination(name, config)

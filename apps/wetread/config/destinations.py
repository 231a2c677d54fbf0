"""The tables of destinations, senders and archives in wetread.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from wetread.config.base import AETitle, Kinds, PositiveSeconds, Seconds, Section, as_tuple

Kept = Literal["device", "institution", "patient"]


class DeidentifyConfig(Section):
    """De-identification by PS3.15 Annex E, with the key in `key_file` for pseudonyms.

    `dates` are shifted by the same number of days for all of a patient, kept, or removed. `keep`
    are what the options of that name retain.
    """

    key_file: Path
    dates: Literal["shift", "keep", "remove"] = "shift"
    keep: Annotated[tuple[Kept, ...], BeforeValidator(as_tuple)] = ()
    allow_burned_in: bool = False


class _Destination(Section):
    """What every destination has: limits, retries, the kinds of result it takes, and the name of
    a table under [deidentify] if it is to get them de-identified."""

    keeps_objects: ClassVar[bool] = True
    max_concurrent: Annotated[int, Field(ge=1, le=64)] = 2
    timeout_seconds: PositiveSeconds = 30.0
    max_attempts: Annotated[int, Field(ge=1)] = 12
    first_retry_seconds: PositiveSeconds = 5.0
    max_retry_seconds: PositiveSeconds = 3600.0
    send: Kinds = ("SEG", "SR", "SC")
    deidentify: str = ""

    @model_validator(mode="after")
    def _can_be_deidentified(self) -> Self:
        if self.deidentify and "PDF" in self.send:
            raise ValueError("send: a PDF cannot be de-identified; leave it out")
        return self


class _Node(Section):
    """Where a node of the network is, and how it speaks TLS."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    certificate_name: str = ""

    @model_validator(mode="after")
    def _tls_is_meant(self) -> Self:
        named = (self.ca_file, self.certificate_file, self.key_file, self.certificate_name)
        if any(named) and not self.tls:
            raise ValueError("files of certificates are given, but tls is not true")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class DicomDestination(_Destination, _Node):
    """A C-STORE SCP. With `commitment` it is asked to keep what it got, and again every
    `commitment_seconds` until it answers."""

    kind: Literal["dicom"]
    called_ae_title: AETitle
    calling_ae_title: AETitle = "WETREAD"
    commitment: bool = False
    commitment_seconds: PositiveSeconds = 600.0

    @model_validator(mode="after")
    def _is_asked_for_what_it_has(self) -> Self:
        if self.commitment and self.deidentify:
            raise ValueError("commitment asks for the original UIDs, which deidentify hides")
        return self


class ArchiveConfig(_Node):
    """An archive that sends old studies when `wetread pull` asks (Study Root C-FIND and C-MOVE).

    `move_destination` is the AE title under which it knows our listener, if not its own. `hours`
    are those of the day, by this machine's clock, in which a study may be asked for.
    """

    called_ae_title: AETitle
    calling_ae_title: AETitle = "WETREAD"
    move_destination: AETitle | None = None
    timeout_seconds: PositiveSeconds = 30.0
    move_timeout_seconds: PositiveSeconds = 600.0
    studies_at_once: Annotated[int, Field(ge=1, le=16)] = 1
    pause_seconds: Seconds = 1.0
    hours: Annotated[
        str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")
    ] = ""


class CommitmentCaller(_Node):
    """Where a sender that asks for storage commitment takes our report."""

    timeout_seconds: PositiveSeconds = 30.0
    max_attempts: Annotated[int, Field(ge=1)] = 12
    first_retry_seconds: PositiveSeconds = 5.0
    max_retry_seconds: PositiveSeconds = 3600.0


class CommitmentConfig(Section):
    """Which senders may ask for storage commitment, by their AE title."""

    callers: dict[AETitle, CommitmentCaller] = Field(default_factory=dict)


class _WebServer(Section):
    """Where a web server is, and what it wants to see of us."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    user: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None


class DicomwebDestination(_Destination, _WebServer):
    """A STOW-RS origin server; `url` is its service root, such as http://orthanc:8042/dicom-web."""

    kind: Literal["dicomweb"]


class FolderDestination(_Destination):
    """A folder: one file an object, under <study>/<series>/."""

    kind: Literal["folder"]
    path: Path


class _Messages(_Destination):
    """A destination that takes no DICOM: each report goes there as a message."""

    keeps_objects: ClassVar[bool] = False
    send: Annotated[tuple[Literal["SR"], ...], BeforeValidator(as_tuple)] = ("SR",)

    @model_validator(mode="after")
    def _names_its_patient(self) -> Self:
        if self.deidentify:
            raise ValueError("a message must name its patient, which deidentify hides")
        return self


class Hl7Destination(_Messages, _Node):
    """An HL7 v2 receiver over MLLP; the next fields are MSH-3 to MSH-6 and MSH-11.

    `positive_priority` is the TQ1-9 of a report that says of something that it is present.
    """

    kind: Literal["hl7"]
    sending_application: str = "WETREAD"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: Literal["P", "T", "D"] = "P"
    positive_priority: Literal["", "S", "A"] = ""


class FhirDestination(_Messages, _WebServer):
    """A FHIR R4 server; `url` is its service base.

    `patient_system` is the URI of the system that Patient IDs are from. With `resolve_patient` the
    server must have that one patient, or takes nothing.
    """

    kind: Literal["fhir"]
    patient_system: str = ""
    resolve_patient: bool = False

    @model_validator(mode="after")
    def _knows_which_patients(self) -> Self:
        if self.resolve_patient and not self.patient_system:
            raise ValueError("resolve_patient needs patient_system: an ID alone is nobody's")
        return self


DestinationConfig = Annotated[
    DicomDestination | DicomwebDestination | FolderDestination | Hl7Destination | FhirDestination,
    Field(discriminator="kind"),
]

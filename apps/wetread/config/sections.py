"""The tables of wetread.toml, with their defaults and what is allowed in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from wetread.config.audit import AuditConfig
from wetread.config.base import AETitle, Names, Port, PositiveSeconds, Seconds, Section, as_tuple
from wetread.config.destinations import (
    ArchiveConfig,
    CommitmentConfig,
    DeidentifyConfig,
    DestinationConfig,
)
from wetread.config.spool import SpoolConfig
from wetread.config.traces import TracesConfig
from wetread.config.web import WebConfig
from wetread.config.worklist import WorklistConfig
from wetread.results import Kind


class ListenerConfig(Section):
    """The C-STORE SCP. `accept_calling_ae_titles` must name the callers, or be `["*"]`.

    An entry may say from where: `MR1@10.1.0.5`, `*@10.1.0.0/16`.
    """

    ae_title: AETitle = "WETREAD"
    host: str = "127.0.0.1"
    port: Port = 11112
    accept_calling_ae_titles: Names = ()
    require_called_ae_title: bool = True
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    idle_timeout_seconds: PositiveSeconds = 60.0
    dimse_timeout_seconds: PositiveSeconds = 60.0
    private_sop_classes: Names = ()
    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file needs certificate_file and key_file")
        return self


class StowConfig(Section):
    """The STOW-RS door: POST /dicom-web/studies. With a token file it wants a bearer token."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 8080
    token_file: Path | None = None
    max_body_bytes: Annotated[int, Field(gt=0)] = 4_000_000_000


class WatchFolderConfig(Section):
    """A folder whose DICOM files are taken in and removed; no `path` is no such door.

    A file is taken once it has not changed for `settle_seconds`.
    """

    path: Path | None = None
    settle_seconds: PositiveSeconds = 10.0
    poll_seconds: PositiveSeconds = 2.0


class RetentionConfig(Section):
    """When local copies of a finished study are removed; never, unless something is set.

    A study is finished once everything of it was read and every result has been delivered.
    `keep_days` counts from the last confirmation, `keep_failed_days` from the last event of a study
    of which something could not be read: as long as it is here, a person can try again. With more
    than `max_spool_bytes` of images and results, the oldest finished studies go before their time.
    """

    keep_days: Annotated[float, Field(ge=0)] | None = None
    keep_failed_days: Annotated[float, Field(ge=0)] | None = None
    max_spool_bytes: Annotated[int, Field(gt=0)] | None = None
    check_seconds: PositiveSeconds = 300.0

    @property
    def removes(self) -> bool:
        """Whether anything is ever removed."""
        limits = (self.keep_days, self.keep_failed_days, self.max_spool_bytes)
        return any(limit is not None for limit in limits)


class DatabaseConfig(Section):
    """The ledger and the workflow state. Empty: SQLite files beside the spool."""

    url: Annotated[str, Field(pattern=r"^(sqlite://|postgresql(\+psycopg)?://|$)")] = ""
    password_file: Path | None = None

    @property
    def is_shared(self) -> bool:
        """Whether several processes may use it at once: PostgreSQL."""
        return self.url.startswith("postgresql")


class QuietTimes(Section):
    """Overrides of the waiting times for one calling AE title."""

    series_quiet_seconds: Seconds | None = None
    study_quiet_seconds: Seconds | None = None
    study_max_wait_seconds: Seconds | None = None


class AssemblyConfig(Section):
    """When a study is taken to be complete.

    A study is complete once nothing has come for `study_quiet_seconds`, or once every series has
    been quiet for `series_quiet_seconds` and no association of its sender is open, and at the
    latest `study_max_wait_seconds` after its first instance.
    """

    series_quiet_seconds: Seconds = 30.0
    study_quiet_seconds: Seconds = 120.0
    study_max_wait_seconds: Seconds = 900.0
    callers: dict[AETitle, QuietTimes] = Field(default_factory=dict)

    def for_caller(self, calling_ae_title: str) -> AssemblyConfig:
        """These times with the overrides of that caller."""
        overrides = self.callers.get(calling_ae_title)
        if overrides is None:
            return self
        return self.model_copy(update=overrides.model_dump(exclude_none=True))


class _Model(Section):
    bundle: Path
    timeout_seconds: PositiveSeconds = 600.0
    hang_seconds: PositiveSeconds = 1800.0
    max_voxels: Annotated[int, Field(ge=1)] = 500_000_000
    max_attempts: Annotated[int, Field(ge=1)] = 6
    first_retry_seconds: PositiveSeconds = 10.0
    max_retry_seconds: PositiveSeconds = 600.0
    shadow: Path | None = None


class EmbeddedModel(_Model):
    """A bundle whose networks run in this process, by OpenVINO on the CPU."""

    backend: Literal["embedded"] = "embedded"
    threads: Annotated[int, Field(ge=0)] = 0


class TritonModel(_Model):
    """A bundle whose networks run on Triton servers (gRPC), which stand in for each other."""

    backend: Literal["triton"]
    triton_url: Annotated[
        tuple[Annotated[str, Field(pattern=r"^grpcs?://[^/]+:\d+$")], ...],
        BeforeValidator(as_tuple),
        Field(min_length=1),
    ]
    max_in_flight: Annotated[int, Field(ge=1, le=64)] = 4
    shared_memory: bool = True
    token_file: Path | None = None
    ca_file: Path | None = None


def _default_backend(value: object) -> object:
    if isinstance(value, dict) and "backend" not in value:
        return {**value, "backend": "embedded"}
    return value


ModelConfig = Annotated[
    Annotated[EmbeddedModel | TritonModel, Field(discriminator="backend")],
    BeforeValidator(_default_backend),
]


# `*` any text, `?` one character; letter case does not matter.
Pattern = Annotated[str, Field(min_length=1)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(as_tuple)]


class Conditions(Section):
    """What a series and its study must be. All given conditions must hold; none given holds always.

    Text is compared without regard to letter case; `*` and `?` are wildcards in the descriptions
    and the manufacturer. Lists mean "one of". `image_type` holds if each of its values is among
    the values of Image Type, `not_image_type` if none is.
    """

    modality: Names | None = None
    body_part_examined: Names | None = None
    study_description: Patterns | None = None
    series_description: Patterns | None = None
    not_series_description: Patterns | None = None
    calling_ae_title: Names | None = None
    manufacturer: Patterns | None = None
    min_instances: Annotated[int, Field(ge=1)] | None = None
    max_instances: Annotated[int, Field(ge=1)] | None = None
    min_slice_spacing_mm: Annotated[float, Field(ge=0)] | None = None
    max_slice_spacing_mm: Annotated[float, Field(gt=0)] | None = None
    image_type: Names | None = None
    not_image_type: Names | None = None
    orientation: (
        Annotated[
            tuple[Literal["axial", "coronal", "sagittal", "oblique"], ...],
            BeforeValidator(as_tuple),
        ]
        | None
    ) = None
    contrast: bool | None = None
    min_patient_age_years: Annotated[float, Field(ge=0)] | None = None
    max_patient_age_years: Annotated[float, Field(ge=0)] | None = None


class Rule(Section):
    """Which models read the series that meet `when`, and where their results go."""

    name: Annotated[str, Field(min_length=1)]
    when: Conditions
    run: Names
    send_results_to: Names
    priority: Annotated[int, Field(ge=1, le=1000)] = 100


class RoutingConfig(Section):
    """`first`: a series takes the first rule that it meets. `all`: every rule that it meets."""

    match: Literal["first", "all"] = "first"


class MetricsConfig(Section):
    """Prometheus text at http://host:port/metrics; port 0 turns it off."""

    host: str = "127.0.0.1"
    port: Port = 0


class WorkersConfig(Section):
    """How many jobs run at once in this process, and who it is among others on one PostgreSQL.

    `name` is that of this process and no other; empty: the machine's. With `jobs = 0` it reads
    nothing, which others must do then.
    """

    jobs: Annotated[int, Field(ge=0, le=64)] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    lease_seconds: Annotated[float, Field(ge=1)] = 30.0


class LabelConfig(Section):
    """The annotation server: MONAI Label with these bundles, over a folder or a DICOMweb archive.

    `studies` is a folder of NIfTI files, or the URL of a DICOMweb origin. `only` are names of
    bundles in `bundles`; none are all. `modalities` are those of the series that are offered.
    """

    studies: str = ""
    folder: Path = Path("annotations")
    environment: Path = Path(".venv-label")
    bundles: Path = Path("bundles")
    only: Names = ()
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8070
    modalities: Names = ()
    origins: Names = ()
    triton_url: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""
    studies_user: str = ""
    studies_password_file: Path | None = None
    studies_token_file: Path | None = None
    max_upload_bytes: Annotated[int, Field(gt=0)] = 2_000_000_000
    max_sessions: Annotated[int, Field(ge=1)] = 20
    max_infers: Annotated[int, Field(ge=1)] = 8
    collect_seconds: Seconds = 300.0


class ViewerConfig(Section):
    """The viewer: OHIF over a DICOMweb archive. `studies` is its service root; "" is no viewer.

    `public_url` is where browsers reach it, if not at its host and port. `proxies` are believed
    who asks.
    """

    studies: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8050
    public_url: Annotated[str, Field(pattern=r"^(https?://[^/]+/?)?$")] = ""
    proxies: Names = ()
    folder: Path = Path(".cache/ohif")
    studies_user: str = ""
    studies_password_file: Path | None = None
    studies_token_file: Path | None = None
    max_upload_bytes: Annotated[int, Field(gt=0)] = 2_000_000_000


Role = Literal["user", "annotator", "reviewer", "admin"]


class UserConfig(Section):
    """Somebody with a token; only its SHA-256 is written down, in hexadecimal.

    Each role includes those before it: user reads, annotator saves labels, reviewer approves them,
    admin trains.
    """

    roles: Annotated[tuple[Role, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Config(Section):
    """All settings of one wetread."""

    listener: ListenerConfig = ListenerConfig()
    stow: StowConfig = StowConfig()
    watch_folder: WatchFolderConfig = WatchFolderConfig()
    spool: SpoolConfig = SpoolConfig()
    retention: RetentionConfig = RetentionConfig()
    database: DatabaseConfig = DatabaseConfig()
    assembly: AssemblyConfig = AssemblyConfig()
    commitment: CommitmentConfig = CommitmentConfig()
    routing: RoutingConfig = RoutingConfig()
    workers: WorkersConfig = WorkersConfig()
    metrics: MetricsConfig = MetricsConfig()
    audit: AuditConfig = AuditConfig()
    traces: TracesConfig = TracesConfig()
    label: LabelConfig = LabelConfig()
    viewer: ViewerConfig = ViewerConfig()
    web: WebConfig = WebConfig()
    worklist: WorklistConfig = WorklistConfig()
    users: dict[str, UserConfig] = Field(default_factory=dict)
    model_repository: Path = Path("triton_models")
    trusted_keys: tuple[Path, ...] = ()
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    deidentify: dict[str, DeidentifyConfig] = Field(default_factory=dict)
    destinations: dict[str, DestinationConfig] = Field(default_factory=dict)
    archives: dict[str, ArchiveConfig] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def kinds_for(self, destinations: Iterable[str]) -> dict[str, tuple[Kind, ...]]:
        """Which kinds of result each of these destinations takes."""
        return {name: self.destinations[name].send for name in destinations}

    @model_validator(mode="after")
    def _somebody_reads(self) -> Self:
        if self.workers.jobs == 0 and not self.database.is_shared:
            raise ValueError("workers.jobs: 0 reads nothing, and SQLite has no other workers")
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, to in self.destinations.items():
            if to.deidentify:
                place = f"destinations.{name}.deidentify"
                _check_names(place, (to.deidentify,), self.deidentify)
        rules = {rule.name: rule for rule in self.rules}
        _check_names("worklist.codes", tuple(self.worklist.codes.values()), rules)
        for index, rule in enumerate(self.rules):
            _check_names(f"rules[{index}].run", rule.run, self.models)
            _check_names(f"rules[{index}].send_results_to", rule.send_results_to, self.destinations)
        return self


def _check_names(place: str, names: tuple[str, ...], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{place}: unknown name {name!r}{_did_you_mean(name, known)}")


def _did_you_mean(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f", did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(known)) or 'none'}"

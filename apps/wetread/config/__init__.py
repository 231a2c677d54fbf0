"""The settings of one wetread. The only room that knows TOML, the environment and pydantic."""

from wetread.config.audit import AuditConfig
from wetread.config.base import Section
from wetread.config.destinations import (
    ArchiveConfig,
    CommitmentCaller,
    CommitmentConfig,
    DeidentifyConfig,
    DestinationConfig,
    DicomDestination,
    DicomwebDestination,
    FolderDestination,
)
from wetread.config.loading import ENVIRONMENT_PREFIX, load_config, parse_config
from wetread.config.sections import (
    AssemblyConfig,
    Conditions,
    Config,
    DatabaseConfig,
    EmbeddedModel,
    LabelConfig,
    ListenerConfig,
    MetricsConfig,
    ModelConfig,
    QuietTimes,
    RetentionConfig,
    RoutingConfig,
    Rule,
    StowConfig,
    TritonModel,
    UserConfig,
    ViewerConfig,
    WatchFolderConfig,
    WorkersConfig,
)
from wetread.config.spool import ShareConfig, SpoolConfig
from wetread.config.web import OidcConfig, WebConfig
from wetread.config.worklist import WorklistConfig

__all__ = [
    "ENVIRONMENT_PREFIX",
    "ArchiveConfig",
    "AssemblyConfig",
    "AuditConfig",
    "CommitmentCaller",
    "CommitmentConfig",
    "Conditions",
    "Config",
    "DatabaseConfig",
    "DeidentifyConfig",
    "DestinationConfig",
    "DicomDestination",
    "DicomwebDestination",
    "EmbeddedModel",
    "FolderDestination",
    "LabelConfig",
    "ListenerConfig",
    "MetricsConfig",
    "ModelConfig",
    "OidcConfig",
    "QuietTimes",
    "RetentionConfig",
    "RoutingConfig",
    "Rule",
    "Section",
    "ShareConfig",
    "SpoolConfig",
    "StowConfig",
    "TritonModel",
    "UserConfig",
    "ViewerConfig",
    "WatchFolderConfig",
    "WebConfig",
    "WorkersConfig",
    "WorklistConfig",
    "load_config",
    "parse_config",
]

"""Every setting is described with its true default, and the example has every section."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from conftest import ROOT
from docs.pages import DEPLOY_PAGE, tables_by_heading, text_of
from wetread import config
from wetread.config import Config, Section, load_config

TABLES = tables_by_heading(text_of(DEPLOY_PAGE))
# Heading → the models whose keys its tables explain.
SECTIONS: Mapping[str, tuple[type[Section], ...]] = {
    "Top level": (Config,),
    "`[listener]`": (config.ListenerConfig,),
    "`[stow]`": (config.StowConfig,),
    "`[watch_folder]`": (config.WatchFolderConfig,),
    "`[spool]`": (config.SpoolConfig,),
    "`[spool.share]`": (config.ShareConfig,),
    "`[retention]`": (config.RetentionConfig,),
    "`[database]`": (config.DatabaseConfig,),
    "`[assembly]`": (config.AssemblyConfig,),
    "`[assembly.callers.AE_TITLE]`": (config.QuietTimes,),
    "`[commitment.callers.AE_TITLE]`": (config.CommitmentConfig, config.CommitmentCaller),
    "`[routing]`": (config.RoutingConfig,),
    "`[workers]`": (config.WorkersConfig,),
    "`[metrics]`": (config.MetricsConfig,),
    "`[audit]`": (config.AuditConfig,),
    "`[traces]`": (config.TracesConfig,),
    "`[label]`": (config.LabelConfig,),
    "`[viewer]`": (config.ViewerConfig,),
    "`[worklist]`": (config.WorklistConfig,),
    "`[web]`": (config.WebConfig,),
    "`[web.oidc]`": (config.OidcConfig,),
    "`[users.NAME]`": (config.UserConfig,),
    "`[models.NAME]`": (config.EmbeddedModel, config.TritonModel),
    "`[deidentify.NAME]`": (config.DeidentifyConfig,),
    "`[destinations.NAME]`": (
        config.DicomDestination,
        config.DicomwebDestination,
        config.FolderDestination,
        config.Hl7Destination,
        config.FhirDestination,
    ),
    "`[archives.NAME]`": (config.ArchiveConfig,),
    "`[[rules]]`": (config.Rule, config.Conditions),
}
# Tables of their own, not keys of the table above them.
TABLES_IN_TABLES = {
    *("callers", "deidentify", "users", "models", "destinations", "archives", "rules", "oidc"),
    "share",
}


def described(heading: str) -> dict[str, set[str]]:
    """Key → the defaults that the page gives, under the heading that begins so."""
    [rows] = [rows for title, rows in TABLES.items() if title.split(":")[0] == heading]
    found: dict[str, set[str]] = {}
    for key, default, *_ in (row for row in rows if row[0].startswith("`")):
        found.setdefault(key.strip("`"), set()).add(default)
    return found


def true_defaults(models: tuple[type[Section], ...]) -> dict[str, set[Any]]:
    found: dict[str, set[Any]] = {}
    for model in models:
        for name, field in model.model_fields.items():
            is_section = isinstance(field.default, Section) or name in TABLES_IN_TABLES
            # A destination names a table of [deidentify] under the same word.
            if not is_section or isinstance(field.default, str):
                found.setdefault(name, set()).add(field.default)
    return found


def parsed(default: str) -> Any:
    """A default as the page writes it: TOML, or none, or — for a key that must be written."""
    if default in ("none", "—"):
        return None if default == "none" else PydanticUndefined
    value = tomllib.loads(f"x = {default.strip('`')}")["x"]
    return tuple(value) if isinstance(value, list) else value


def plain(default: Any) -> Any:
    return str(default) if hasattr(default, "parts") else default


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_described_and_no_other(heading: str) -> None:
    assert set(described(heading)) == set(true_defaults(SECTIONS[heading]))


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_default_is_the_true_one(heading: str) -> None:
    truth = true_defaults(SECTIONS[heading])
    for key, defaults in described(heading).items():
        said = {parsed(each) for each in defaults}
        # The key that chooses among the kinds has no default in all of them.
        assert said <= {plain(each) for each in truth[key]}, key


def test_every_section_is_looked_at() -> None:
    looked_at = {model for models in SECTIONS.values() for model in models}
    every = [Section]
    for model in every:
        every.extend(model.__subclasses__())
    public = {model for model in every if not model.__name__.startswith("_")}
    assert public - looked_at == {Section}


def test_the_example_has_every_section_and_no_fault() -> None:
    path = ROOT / "deploy" / "wetread.toml"
    loaded = load_config(path, environment={})
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(document) == set(Config.model_fields)
    assert loaded.assembly.for_caller("MR_ROOM2").series_quiet_seconds == 120.0
    assert [rule.name for rule in loaded.rules] == ["head MR → brain extraction", "everything else"]


def test_the_example_works_where_it_is_copied_to() -> None:
    """Its relative paths are those of the top folder."""
    document = tomllib.loads((ROOT / "deploy/wetread.toml").read_text(encoding="utf-8"))
    loaded = config.parse_config(document, source=ROOT / "wetread.toml")
    assert loaded.model_repository == ROOT / "triton_models"
    for model in loaded.models.values():
        assert (model.bundle / "configs/dicom.json").is_file()

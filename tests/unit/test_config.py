"""wetread.toml: what is right is read, what is wrong is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT
from wetread.config import (
    AssemblyConfig,
    DicomDestination,
    EmbeddedModel,
    FolderDestination,
    QuietTimes,
    load_config,
    parse_config,
)
from wetread.errors import ConfigError

PACS = {"kind": "dicom", "host": "pacs", "port": 104, "called_ae_title": "PACS"}


def written(folder: Path, text: str) -> Path:
    path = folder / "wetread.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_is_valid_and_names_every_section() -> None:
    config = load_config(ROOT / "deploy" / "wetread.toml", {})
    assert config.listener.accept_calling_ae_titles == ("CT_ROOM1", "MR_ROOM2")
    assert isinstance(config.destinations["pacs"], DicomDestination)
    assert isinstance(config.models["brain_mr"], EmbeddedModel)
    assert [rule.name for rule in config.rules] == ["head MR → brain extraction", "everything else"]


def test_paths_are_seen_from_the_folder_of_the_file(tmp_path: Path) -> None:
    text = '[spool]\npath = "spool"\n[destinations.f]\nkind = "folder"\npath = "out"\n'
    config = load_config(written(tmp_path, text), {})
    assert config.spool.path == tmp_path / "spool"
    folder = config.destinations["f"]
    assert isinstance(folder, FolderDestination)
    assert folder.path == tmp_path / "out"


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[listener]\nport = 104\n")
    variables = {"WETREAD_LISTENER__PORT": "11113", "WETREAD_LISTENER__AE_TITLE": "OTHER"}
    config = load_config(path, variables)
    assert (config.listener.port, config.listener.ae_title) == (11113, "OTHER")


def test_one_name_stands_for_a_list_of_one() -> None:
    rule = {"name": "r", "when": {"modality": "MR"}, "run": [], "send_results_to": []}
    assert parse_config({"rules": [rule]}).rules[0].when.modality == ("MR",)


def test_a_caller_overrides_only_what_it_names() -> None:
    times = AssemblyConfig(callers={"SLOW": QuietTimes(study_quiet_seconds=300)})
    assert times.for_caller("SLOW").study_quiet_seconds == 300
    assert times.for_caller("SLOW").series_quiet_seconds == times.series_quiet_seconds
    assert times.for_caller("OTHER") is times


def test_nobody_may_send_unless_named() -> None:
    assert parse_config({}).listener.accept_calling_ae_titles == ()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"listener": {"prt": 1}}, r"listener\.prt: unknown key"),
        ({"listener": {"ae_title": "A" * 17}}, r"listener\.ae_title: .*1 to 16 characters"),
        ({"listener": {"ae_title": "Ä"}}, r"listener\.ae_title: .*printable ASCII"),
        ({"listener": {"port": 99999}}, r"listener\.port: .*65535"),
        (
            {"destinations": {"pacs": {**PACS, "called_ae_title": "X" * 17}}},
            r"destinations\.pacs\.dicom\.called_ae_title: .*16",
        ),
        (
            {"destinations": {"pacs": {**PACS, "send": ["SR", "PDF"], "deidentify": "d"}}},
            r"destinations\.pacs\.dicom: .*send: a PDF cannot be de-identified",
        ),
        ({"destinations": {"pacs": {**PACS, "send": "STL"}}}, r"send\[0\]: .*'RTSTRUCT'.*'STL'"),
        ({"destinations": {"x": {"kind": "ftp"}}}, r"destinations\.x: .*ftp"),
        ({"models": {"m": {"bundle": "b", "backend": "gpu"}}}, r"models\.m: .*gpu"),
        ({"models": {"m": {}}}, r"models\.m\.embedded\.bundle: "),
        (
            {"rules": [{"name": "r", "when": {"modalty": "MR"}, "run": [], "send_results_to": []}]},
            r"rules\[0\]\.when\.modalty: unknown key",
        ),
        ({"rules": [{"name": "r", "when": {}, "run": ["m"]}]}, r"rules\[0\]\.send_results_to"),
    ],
)
def test_a_fault_is_named_with_its_place(document: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(document)


def test_a_rule_may_only_name_what_there_is() -> None:
    rule = {"name": "r", "when": {}, "run": ["brian_mr"], "send_results_to": ["pacs"]}
    document = {
        "models": {"brain_mr": {"bundle": "b"}},
        "destinations": {"pacs": PACS},
        "rules": [rule],
    }
    with pytest.raises(ConfigError, match=r"'brian_mr', did you mean 'brain_mr'\?"):
        parse_config(document)


def test_a_misspelt_key_gets_a_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"listener": {"ae_titel": "X"}})
    assert caught.value.hint == "did you mean 'ae_title'?"


def test_what_is_no_toml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wetread\.toml: .*line 1"):
        load_config(written(tmp_path, "listener: {port: 1}"), {})


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        load_config(tmp_path / "none.toml", {})
    assert "deploy/wetread.toml" in caught.value.hint


@pytest.mark.parametrize(
    ("web", "fault"),
    [
        ({"host": "0.0.0.0"}, "passwords would cross the network in the clear"),
        ({"public_url": "http://wetread.hospital.example"}, "passwords would cross the network"),
        ({"host": "0.0.0.0", "certificate_file": "c", "key_file": "k"}, "say in public_url"),
        ({"certificate_file": "c"}, "certificate_file and key_file go together"),
        ({"oidc": {"issuer": "http://login.example", "client_id": "x"}}, "issuer: String should"),
    ],
)
def test_a_dashboard_that_others_reach_needs_tls(web: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        parse_config({"web": web})


def test_a_dashboard_behind_a_proxy_with_tls_is_secure(tmp_path: Path) -> None:
    oidc = {"issuer": "https://login.example", "client_id": "x", "client_secret_file": "secret"}
    web = {"public_url": "https://wetread.hospital.example", "host": "10.0.0.7", "oidc": oidc}
    config = parse_config({"web": web}, source=tmp_path / "wetread.toml").web
    assert config.is_secure
    assert config.oidc is not None
    assert config.oidc.client_secret_file == tmp_path / "secret"
    assert not parse_config({"web": {"host": "0.0.0.0", "enabled": False}}).web.is_secure


def test_on_sqlite_somebody_must_read() -> None:
    with pytest.raises(ConfigError, match=r"workers\.jobs: 0 reads nothing"):
        parse_config({"workers": {"jobs": 0}})
    shared = {"workers": {"jobs": 0}, "database": {"url": "postgresql://db/wetread"}}
    assert parse_config(shared).workers.jobs == 0


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"deidentify": "research"}, "a message must name its patient"),
        ({"send": ["SEG"]}, "Input should be 'SR'"),
        ({"ca_file": "ca.pem"}, "tls is not true"),
    ],
)
def test_a_destination_of_messages_takes_reports_with_their_patient(
    more: dict[str, object], fault: str
) -> None:
    ris = {"kind": "hl7", "host": "ris", "port": 2575, **more}
    document = {"destinations": {"ris": ris}, "deidentify": {"research": {"key_file": "key"}}}
    with pytest.raises(ConfigError, match=fault):
        parse_config(document)

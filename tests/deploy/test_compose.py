"""compose.yaml as Docker Compose itself reads it, and what we promise of it; nothing is started."""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import compose
import pytest
import yaml

from conftest import ROOT
from wetread.config import Config, TritonModel, load_config

FOLDER = ROOT / "deploy" / "compose"
PROGRAM = Path(compose.__file__).with_name("docker-compose")
READER = f'{{roles = ["annotator"], token_sha256 = "{hashlib.sha256(b"token").hexdigest()}"}}'


def composed(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [
            PROGRAM,
            *("--env-file", ROOT / "deploy" / "images.env"),
            *("--file", ROOT / "deploy" / "compose.yaml"),
            *words,
        ],
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )


def read(profile: str) -> dict[str, Any]:
    done = composed("--profile", profile, "config", "--format=json", WETREAD_READER=READER)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return read("*")


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = project["services"]
    return found


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(FOLDER / "wetread.toml", {"WETREAD_USERS__READER": READER})


def failing(services: dict[str, dict[str, Any]], **wanted: object) -> dict[str, object]:
    return {
        name: {key: service.get(key) for key in wanted}
        for name, service in services.items()
        if any(service.get(key) != value for key, value in wanted.items())
    }


def test_each_profile_brings_its_own_triton_and_all_the_rest() -> None:
    cpu, gpu = set(read("cpu")["services"]), set(read("gpu")["services"])
    assert cpu ^ gpu == {"triton-cpu", "triton-gpu"}
    assert cpu & gpu == {
        *("gateway", "worker", "models", "label"),
        *("postgres", "orthanc", "prometheus", "grafana"),
    }


def test_nothing_starts_without_a_user_of_the_viewer() -> None:
    done = composed("config", "--quiet")
    assert done.returncode != 0
    assert "see deploy/README.md" in done.stderr


def test_every_service_is_locked_in(services: dict[str, dict[str, Any]]) -> None:
    wrong = failing(
        services,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        init=True,
    )
    assert wrong == {}
    assert [name for name, each in services.items() if each.get("privileged")] == []


def test_nobody_is_root(services: dict[str, dict[str, Any]]) -> None:
    users = {name: str(each.get("user", "0")) for name, each in services.items()}
    assert {name for name, user in users.items() if int(user.partition(":")[0]) == 0} == set()


def test_every_service_has_limits(services: dict[str, dict[str, Any]]) -> None:
    keys = ("mem_limit", "cpus", "pids_limit")
    assert [name for name, each in services.items() if not all(each.get(k) for k in keys)] == []


def test_every_service_that_stays_says_whether_it_is_well(
    services: dict[str, dict[str, Any]],
) -> None:
    tests = {name: each.get("healthcheck", {}).get("test") for name, each in services.items()}
    # It ends.
    assert services["models"]["restart"] == "no"
    assert [name for name, test in tests.items() if not test] == ["models"]


def test_the_database_and_triton_have_no_way_out(project: dict[str, Any]) -> None:
    networks = project["networks"]
    closed = {name for name, each in networks.items() if each.get("internal")}
    assert closed == {"backend", "monitoring"}
    for name in ("postgres", "triton-cpu", "triton-gpu", "prometheus"):
        assert set(project["services"][name]["networks"]) <= closed
        assert "ports" not in project["services"][name]
    assert "backend" not in project["services"]["grafana"]["networks"]


def test_every_volume_secret_and_configuration_is_used(project: dict[str, Any]) -> None:
    used: dict[str, set[str]] = {"volumes": set(), "secrets": set(), "configs": set()}
    for service in project["services"].values():
        for kind, names in used.items():
            names |= {each["source"] for each in service.get(kind, []) if each.get("source")}
    for kind, names in used.items():
        assert set(project[kind]) == {name for name in names if not name.startswith("/")}


def test_every_file_that_is_mounted_is_there(project: dict[str, Any]) -> None:
    files = [each["file"] for each in project["configs"].values()]
    for service in project["services"].values():
        files += [v["source"] for v in service.get("volumes", []) if v["type"] == "bind"]
    assert [file for file in files if not Path(file).exists()] == []


def test_no_secret_stands_in_the_file(services: dict[str, dict[str, Any]]) -> None:
    values = {
        key: value
        for each in services.values()
        for key, value in each.get("environment", {}).items()
        if re.search("PASSWORD|TOKEN|SECRET", key)
    }
    assert {value.rpartition("/")[0] for value in values.values()} == {"/run/secrets"}


def test_the_settings_and_the_services_agree(
    config: Config, services: dict[str, dict[str, Any]]
) -> None:
    gateway = services["gateway"]
    doors = {config.listener.port, config.web.port, config.viewer.port}
    assert {each["target"] for each in gateway["ports"]} == doors
    assert {each["target"] for each in services["label"]["ports"]} == {config.label.port}
    assert str(config.metrics.port) in " ".join(gateway["healthcheck"]["test"])
    model = config.models["brain_mr"]
    assert isinstance(model, TritonModel)
    assert model.triton_url == ("grpc://triton:8001",)
    for name in ("triton-cpu", "triton-gpu"):
        assert services[name]["networks"]["backend"]["aliases"] == ["triton"]
    assert set(services["worker"]["networks"]) >= {"dicom", "backend"}
    assert "@postgres/" in config.database.url


def test_every_file_that_the_settings_name_is_given_to_who_reads_it(
    config: Config, services: dict[str, dict[str, Any]]
) -> None:
    secrets = {
        name: {f"/run/secrets/{each['source']}" for each in service.get("secrets", [])}
        for name, service in services.items()
    }
    work = {str(config.database.password_file), str(config.viewer.studies_password_file)}
    web = {str(config.web.certificate_file), str(config.web.key_file)}
    assert secrets["worker"] == work
    assert secrets["gateway"] == work | web
    assert secrets["label"] == {str(config.label.studies_password_file)}


def test_what_is_written_lies_in_a_volume(
    config: Config, services: dict[str, dict[str, Any]]
) -> None:
    def writable(name: str) -> set[str]:
        mounts = services[name].get("volumes", [])
        return {each["target"] for each in mounts if not each.get("read_only")}

    assert writable("gateway") == {str(config.spool.path), str(config.label.folder)}
    assert writable("worker") == {str(config.spool.path)}
    assert writable("label") == {str(config.label.folder)}
    assert writable("models") == {str(config.model_repository)}


def test_orthanc_takes_our_results_and_knows_where_we_are(config: Config) -> None:
    orthanc = json.loads((FOLDER / "orthanc.json").read_text())
    to = config.destinations["orthanc"].model_dump()
    assert (orthanc["DicomPort"], orthanc["DicomAet"]) == (to["port"], to["called_ae_title"])
    assert orthanc["DicomModalities"]["wetread"] == {
        "AET": config.listener.ae_title,
        "Host": "gateway",
        "Port": config.listener.port,
    }
    assert config.viewer.studies == f"http://orthanc:{orthanc['HttpPort']}/dicom-web"
    assert orthanc["AuthenticationEnabled"]
    assert "ORTHANC" in config.listener.accept_calling_ae_titles


def test_prometheus_asks_every_process(config: Config, services: dict[str, dict[str, Any]]) -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    looked_up = [each for job in jobs for each in job["dns_sd_configs"]]
    asked = {(name, each["port"]) for each in looked_up for name in each["names"]}
    ours = config.metrics.port
    assert asked == {("gateway", ours), ("worker", ours), ("triton", 8002)}
    names = {"triton" if name.startswith("triton") else name for name in services}
    assert {name for name, _ in asked} <= names


def test_secrets_are_made_once_and_fit(project: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make = [FOLDER / "make-secrets.sh", folder]
    subprocess.run(make, check=True)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(made) == {Path(each["file"]).name for each in project["secrets"].values()}
    users = json.loads(made["orthanc-users.json"])["RegisteredUsers"]
    assert users == {"wetread": made["orthanc-password"].decode()}
    assert len(made["database-password"]) == 48
    assert made["database-password"] != made["grafana-password"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "web-certificate", folder / "web-key")
    # Who is not the owner does not come in.
    assert folder.stat().st_mode & 0o077 == 0
    subprocess.run(make, check=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made

"""The Helm chart, rendered by Helm itself and checked against the schemas of Kubernetes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import wetread
from conftest import ROOT
from deploy import helm
from wetread import metrics
from wetread.config import Config, TritonModel, load_config

CHART = ROOT / "deploy" / "helm" / "wetread"
# The oldest that the chart allows, and the newest whose schemas are at hand.
VERSIONS = ("1.29", ".".join(kubernetes_validate.latest_version().split(".")[:2]))
Manifest = dict[str, Any]
VALUES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "CPU": {"triton": {"gpu": False, "image": {"repository": "wetread-triton-cpu"}}},
    "hpa": {"autoscaling": {"kind": "hpa"}},
    "keda": {"autoscaling": {"kind": "keda"}},
    "no Triton": {"triton": {"enabled": False}, "backup": {"enabled": False}},
    "own secret, pinned": {
        "secret": {"existing": "mine"},
        "image": {"digest": "sha256:" + "0" * 64},
        "gateway": {"service": {"type": "ClusterIP"}, "nodeSelector": {"zone": "a"}},
        "storage": {"spool": {"storageClass": "nfs"}},
        "imagePullSecrets": [{"name": "catalogue"}],
    },
}
# Kinds of others, of which Kubernetes has no schema.
FOREIGN = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}
by_values = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)


def rendered(values: dict[str, Any]) -> list[Manifest]:
    texts = helm.render(CHART, values)
    documents = (yaml.safe_load_all(text) for name, text in texts.items() if ".yaml" in name)
    return [each for each in chain.from_iterable(documents) if each is not None]


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] in kinds}


def pod_of(manifest: Manifest) -> Manifest | None:
    spec = manifest.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return None if template is None else template


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    found = {f"{each['kind']} {each['metadata']['name']}": pod_of(each) for each in manifests}
    return {name: pod for name, pod in found.items() if pod is not None}


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for name, pod in pods(manifests).items():
        for each in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield f"{name}/{each['name']}", each


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return rendered({})


@pytest.fixture(scope="module")
def config(manifests: list[Manifest], tmp_path_factory: pytest.TempPathFactory) -> Config:
    (settings,) = of_kind(manifests, "ConfigMap").values()
    file = tmp_path_factory.mktemp("chart") / "wetread.toml"
    file.write_text(settings["data"]["wetread.toml"])
    return load_config(file, {})


def test_helm_finds_no_fault() -> None:
    report = helm.lint(CHART)
    errors = [each for each in report["messages"] if each["severity"] > 1]
    assert (errors, report["errors"]) == ([], [])


def test_the_chart_is_of_this_release() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == wetread.__version__


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(version: str) -> None:
    made = [each for values in VALUES.values() for each in rendered(values)]
    # Each once: a schema takes its time.
    different = {json.dumps(each, sort_keys=True): each for each in made}
    assert len(different) > 30
    for manifest in different.values():
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_would_find_a_fault(manifests: list[Manifest]) -> None:
    gateway = of_kind(manifests, "StatefulSet")["hospital-wetread-gateway"]
    wrong = {**gateway, "spec": {**gateway["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@by_values
def test_no_two_objects_have_one_name(values: dict[str, Any]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered(values)]
    assert len(names) == len(set(names))


@by_values
def test_no_container_is_root_or_may_become_it(values: dict[str, Any]) -> None:
    made = rendered(values)
    for name, pod in pods(made).items():
        security = pod["spec"]["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001), name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
    for name, each in containers(made):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


@by_values
def test_every_container_has_limits(values: dict[str, Any]) -> None:
    for name, each in containers(rendered(values)):
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(each["resources"][kind]), name


@by_values
def test_every_process_that_stays_has_probes(values: dict[str, Any]) -> None:
    for name, each in of_kind(rendered(values), "StatefulSet", "Deployment").items():
        (process,) = each["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for port in process["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = process[probe].get("httpGet") or process[probe]["tcpSocket"]
            assert asked["port"] in ports, (name, probe)


@by_values
def test_every_claim_secret_and_setting_that_is_mounted_is_made(values: dict[str, Any]) -> None:
    made = rendered(values)
    for name, pod in pods(made).items():
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in of_kind(made, "PersistentVolumeClaim"), name
            if settings := volume.get("configMap"):
                assert settings["name"] in of_kind(made, "ConfigMap"), name
            if secret := volume.get("secret"):
                mine = values.get("secret", {}).get("existing")
                assert secret["secretName"] in (of_kind(made, "Secret") or {mine}), name
        mounted = {
            mount["name"]
            for each in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
            for mount in each["volumeMounts"]
        }
        assert mounted == set(volumes), name


@by_values
def test_every_selector_finds_pods(values: dict[str, Any]) -> None:
    made = rendered(values)
    labels = [pod["metadata"]["labels"] for pod in pods(made).values()]
    selectors = [each["spec"]["selector"] for each in of_kind(made, "Service").values()]
    matched = of_kind(made, "PodDisruptionBudget").values()
    selectors += [each["spec"]["selector"]["matchLabels"] for each in matched]
    for wanted in selectors:
        assert any(wanted.items() <= own.items() for own in labels), wanted


def test_a_process_is_known_by_the_name_of_its_pod(manifests: list[Manifest]) -> None:
    sets = of_kind(manifests, "StatefulSet")
    assert set(sets) == {"hospital-wetread-gateway", "hospital-wetread-worker"}
    for each in sets.values():
        (process,) = each["spec"]["template"]["spec"]["containers"]
        (name,) = (v for v in process["env"] if v["name"] == "WETREAD_WORKERS__NAME")
        assert name["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_nothing_comes_in_or_out_that_is_not_allowed(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    deny = policies.pop("hospital-wetread-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    for pod in pods(manifests).values():
        assert deny["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    rules = [rule for each in policies.values() for rule in each["spec"].get("ingress", [])]
    assert [rule for rule in rules if not (rule["from"] and rule["ports"])] == []
    rules = [rule for each in policies.values() for rule in each["spec"].get("egress", [])]
    assert [rule for rule in rules if not (rule["to"] and rule["ports"])] == []


def test_a_drain_takes_one_pod_of_each_kind_at_a_time(manifests: list[Manifest]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")
    chosen = [each["spec"]["selector"]["matchLabels"] for each in budgets.values()]
    kinds = {labels["app.kubernetes.io/component"] for labels in chosen}
    assert kinds == {"gateway", "worker", "triton"}
    assert {each["spec"]["maxUnavailable"] for each in budgets.values()} == {1}


def test_the_settings_agree_with_the_ports_and_volumes(
    config: Config, manifests: list[Manifest]
) -> None:
    gateway = of_kind(manifests, "StatefulSet")["hospital-wetread-gateway"]
    (process,) = gateway["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in process["ports"]}
    assert ports == {
        "dicom": config.listener.port,
        "web": config.web.port,
        "viewer": config.viewer.port,
        "metrics": config.metrics.port,
    }
    mounts = {each["mountPath"]: each for each in process["volumeMounts"]}
    assert {str(config.spool.path), str(config.model_repository)} < set(mounts)
    assert str(config.label.folder) in mounts
    assert str(Path(str(config.database.password_file)).parent) in mounts
    model = config.models["brain_mr"]
    assert isinstance(model, TritonModel)
    host, port = model.triton_url[0].removeprefix("grpc://").split(":")
    service = of_kind(manifests, "Service")[host]
    assert int(port) in {each["port"] for each in service["spec"]["ports"]}


def test_the_spool_is_one_that_every_node_sees(manifests: list[Manifest]) -> None:
    claims = of_kind(manifests, "PersistentVolumeClaim")
    assert claims["hospital-wetread-spool"]["spec"]["accessModes"] == ["ReadWriteMany"]
    # Uninstalling takes no study away.
    assert {
        each["metadata"]["annotations"]["helm.sh/resource-policy"] for each in claims.values()
    } == {"keep"}


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_workers_grow_with_the_queue(kind: str) -> None:
    made = rendered({"autoscaling": {"kind": kind}})
    (scaler,) = of_kind(made, "HorizontalPodAutoscaler", "ScaledObject").values()
    worker = of_kind(made, "StatefulSet")[scaler["spec"]["scaleTargetRef"]["name"]]
    # Else each upgrade would set the number back.
    assert "replicas" not in worker["spec"]
    assert metrics.QUEUE_TASKS._name in str(scaler["spec"])
    assert set(metrics.QUEUE_TASKS._labelnames) == {"kind"}


def test_an_unknown_kind_of_scaling_is_refused() -> None:
    with pytest.raises(helm.HelmError, match="none, hpa or keda"):
        rendered({"autoscaling": {"kind": "cron"}})


def test_a_gpu_is_asked_for_only_where_there_is_one() -> None:
    def limits(gpu: bool) -> dict[str, Any]:
        triton = of_kind(rendered({"triton": {"gpu": gpu}}), "Deployment")
        (process,) = triton["hospital-wetread-triton"]["spec"]["template"]["spec"]["containers"]
        found: dict[str, Any] = process["resources"]["limits"]
        return found

    assert limits(True)["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in limits(False)


def test_the_backup_takes_the_database_before_the_files(manifests: list[Manifest]) -> None:
    (backup,) = of_kind(manifests, "CronJob").values()
    pod = backup["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "pg_dump" in pod["initContainers"][0]["args"][0]
    assert re.search("received results", pod["containers"][0]["args"][0])
    assert backup["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_operator_is_given_the_rules_and_alerts_of_deploy() -> None:
    made = rendered({"monitoring": {"prometheusRule": True}})
    (rules,) = of_kind(made, "PrometheusRule").values()
    files = [ROOT / "deploy" / "prometheus" / name for name in ("rules.yml", "alerts.yml")]
    groups = [each for file in files for each in yaml.safe_load(file.read_text())["groups"]]
    assert rules["spec"]["groups"] == groups


def test_the_operator_asks_gateways_and_workers_as_the_alerts_call_them() -> None:
    made = rendered({"monitoring": {"serviceMonitor": True}})
    monitors = of_kind(made, "ServiceMonitor")
    spec = monitors["hospital-wetread-processes"]["spec"]
    (component,) = spec["selector"]["matchExpressions"]
    assert component["values"] == ["gateway", "worker"]
    services = [each["metadata"]["labels"] for each in of_kind(made, "Service").values()]
    asked = [
        labels[spec["jobLabel"]]
        for labels in services
        if labels.get(component["key"]) in component["values"]
    ]
    assert asked == ["wetread", "wetread"]
    assert 'up{job="wetread"}' in (ROOT / "deploy/prometheus/alerts.yml").read_text()

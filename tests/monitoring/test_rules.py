"""Alerts and dashboards speak of metrics that exist, and each alert of a section of the runbook."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import Histogram

from conftest import ROOT
from docs.pages import METRICS, name_of, text_of
from wetread.gauges import STAGES_BESIDE

PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
PANELS = {"heatmap", "stat", "table", "timeseries"}
COLUMNS = 24


def document(name: str) -> Any:
    return yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in document(name)["groups"] for rule in group["rules"]]


ALERTS, RECORDED = rules("alerts.yml"), rules("rules.yml")


def existing() -> set[str]:
    """Every name that Prometheus has of us."""
    names = {name_of(each) for each in METRICS if not isinstance(each, Histogram)}
    for each in METRICS:
        if isinstance(each, Histogram):
            names |= {name_of(each) + part for part in ("_bucket", "_sum", "_count")}
    return names | {rule["record"] for rule in RECORDED}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in [*ALERTS, *RECORDED]:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text(encoding="utf-8"))):
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_a_query_asks_for_what_exists(where: str, expression: str) -> None:
    named = set(re.findall(r"\b(?:\w+:)?wetread_\w+(?::\w+)?", expression))
    assert named or "up{" in expression, where
    assert named <= existing(), where


def test_every_metric_is_seen_somewhere() -> None:
    """In an alert or on a dashboard, itself or by a recording rule; else nobody would miss it."""
    asked = " ".join(expression for _, expression in expressions())
    assert [name_of(each) for each in METRICS if name_of(each) not in asked] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_and_where_to_look(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"]
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    heading = rf"^### {alert['alert']}\n.+?^- \*\*Look\*\*: .+?^- \*\*Do\*\*: "
    assert anchor == alert["alert"].lower()
    assert re.search(heading, text_of(ROOT / page), re.MULTILINE | re.DOTALL)


def test_every_stage_beside_the_readings_has_an_alert_for_its_first_error() -> None:
    asked = " ".join(str(alert["expr"]) for alert in ALERTS)
    assert set(re.findall(r'wetread_failures_total\{stage="(\w+)"', asked)) == set(STAGES_BESIDE)


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    headings = re.findall(r"^### (\w+)$", text_of(ROOT / "deploy/runbook.md"), re.MULTILINE)
    assert headings == [alert["alert"] for alert in ALERTS]


def test_every_alert_is_tried() -> None:
    tried = {each["name"] for each in document("alerts.test.yml")["tests"]}
    assert tried == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "rules.yml", "alerts.yml"),
        ("test", "rules", "alerts.test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_takes_them(words: tuple[str, ...]) -> None:
    """The last one lets every alert be silent first, and then fire."""
    command = ["promtool", *words]
    ended = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: str(path.stem))
def test_a_dashboard_can_be_shown(path: Any) -> None:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    assert dashboard["uid"] == f"wetread-{path.stem}"
    assert dashboard["schemaVersion"] >= 36
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    every = panels(dashboard)
    assert len({panel["id"] for panel in every}) == len({p["title"] for p in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        assert panel["type"] in PANELS
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0


def test_grafana_finds_the_dashboards_and_prometheus() -> None:
    [source] = yaml.safe_load(
        (GRAFANA / "provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )["datasources"]
    [provider] = yaml.safe_load(
        (GRAFANA / "provisioning/dashboards/wetread.yml").read_text(encoding="utf-8")
    )["providers"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert (provider["type"], provider["options"]["path"]) == (
        "file",
        "/var/lib/grafana/dashboards",
    )
    assert {path.stem for path in DASHBOARDS} == {"operations", "model-health"}

"""A Prometheus of our own over one target: its rules are ours, with shorter times."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from conftest import ROOT
from network.neighbours import free_port

RULES = ROOT / "deploy/prometheus"


def quick(rules: str) -> str:
    """The same rules, which wait a second and look back for ten."""
    for long, short in (
        (r"\[\d+[mhd]\]", "[10s]"),
        (r"(for|interval): \w+", r"\1: 1s"),
    ):
        rules = re.sub(long, short, rules)
    return rules


class Prometheus:
    """Answers of a running one."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **params: str | Sequence[str]) -> Any:
        answer = self._client.get(path, params=params).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        found = self.get("/query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def firing(self, alert: str) -> list[Mapping[str, str]]:
        alerts = self.get("/alerts")["alerts"]
        return [
            each["labels"]
            for each in alerts
            if each["labels"]["alertname"] == alert and each["state"] == "firing"
        ]


def _write(folder: Path, target: str) -> Path:
    config = yaml.safe_load((RULES / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    for name in config["rule_files"]:
        rules = quick((RULES / name).read_text(encoding="utf-8"))
        (folder / name).write_text(rules, encoding="utf-8")
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@contextmanager
def running_prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """On a free port, with our example's settings and `target` in place of its own."""
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": _write(folder, target),
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
    }
    command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_for(f"http://{address}/-/ready", process, folder)
        with httpx.Client(base_url=f"http://{address}/api/v1", timeout=10) as client:
            yield Prometheus(client)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        assert time.monotonic() < deadline, (folder / "prometheus.log").read_text()
        time.sleep(0.1)

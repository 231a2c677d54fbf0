"""Destinations and models: what is set, and how they fare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from wetread.config import (
    Config,
    DestinationConfig,
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    Hl7Destination,
    ModelConfig,
    TritonModel,
)
from wetread.errors import WetreadError
from wetread.infer.description import bundle_version, load_networks
from wetread.ledger import DeliveryState
from wetread.ledger.overview import Runs, Traffic
from wetread.models.history import Entry, read_history
from wetread.models.record import read_record, version_folders
from wetread.web.views import Fault, fault, moment


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """One destination. `health` is `well`, `failing`, or `unused` as long as nothing went there."""

    name: str
    kind: str
    address: str
    sends: tuple[str, ...]
    health: str
    waiting: int
    dead: int
    delivered: int
    delivered_at: datetime | None
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """The newest version of a network, and the agreement of its masks with the original's."""

    name: str
    version: str
    agreement: float | None
    fault: str


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A promotion, a refusal or a rollback."""

    at: datetime
    action: str
    by: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One configured model, and its last 7 days."""

    name: str
    bundle: str
    version: str
    task: str
    intended_use: str
    backend: str
    shadow: bool
    networks: tuple[NetworkRow, ...]
    changes: tuple[ChangeRow, ...]
    done: int
    failed: int
    median_seconds: float | None
    fault: str


def destination_rows(config: Config, traffic: Mapping[str, Traffic]) -> tuple[DestinationRow, ...]:
    """Those that are configured, in the order of the settings."""
    return tuple(
        _destination(name, to, traffic.get(name, Traffic()))
        for name, to in config.destinations.items()
    )


def _destination(name: str, to: DestinationConfig, traffic: Traffic) -> DestinationRow:
    counts = traffic.counts
    failing = traffic.failing
    health = "failing" if failing else "well" if traffic.delivered_at else "unused"
    return DestinationRow(
        name=name,
        kind=to.kind,
        address=_address(to),
        sends=to.send,
        health=health,
        waiting=counts.get(DeliveryState.PENDING, 0),
        dead=counts.get(DeliveryState.DEAD, 0),
        delivered=counts.get(DeliveryState.DELIVERED, 0),
        delivered_at=moment(traffic.delivered_at),
        fault=fault(failing.failure) if failing else None,
    )


def _address(to: DestinationConfig) -> str:
    if isinstance(to, DicomDestination):
        return f"{to.called_ae_title} at {to.host}:{to.port}" + (" (TLS)" if to.tls else "")
    if isinstance(to, Hl7Destination):
        return f"{to.host}:{to.port}" + (" (TLS)" if to.tls else "")
    return to.url if isinstance(to, DicomwebDestination | FhirDestination) else str(to.path)


def model_rows(config: Config, runs: Mapping[str, Runs]) -> tuple[ModelRow, ...]:
    """Those that are configured; one that cannot be read says why."""
    return tuple(
        _model(name, model, config, runs.get(name, Runs())) for name, model in config.models.items()
    )


def _model(name: str, model: ModelConfig, config: Config, runs: Runs) -> ModelRow:
    version, problem, told = "", "", {}
    networks: tuple[NetworkRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    try:
        version = bundle_version(model.bundle)
        told = json.loads((model.bundle / "configs/metadata.json").read_text(encoding="utf-8"))
        networks = tuple(_network(each, config) for each in load_networks(model.bundle))
        changes = tuple(_change(each) for each in reversed(read_history(model.bundle)))
    except WetreadError as error:
        problem = f"{error} ({error.hint})"
    return ModelRow(
        name=name,
        bundle=model.bundle.name,
        version=version,
        task=str(told.get("task", "")),
        intended_use=str(told.get("intended_use", "")),
        backend="Triton" if isinstance(model, TritonModel) else "this process",
        shadow=model.shadow is not None,
        networks=networks,
        changes=changes,
        done=runs.done,
        failed=runs.failed,
        median_seconds=median(runs.seconds) if runs.seconds else None,
        fault=problem,
    )


def _network(name: str, config: Config) -> NetworkRow:
    folders = version_folders(config.model_repository, name)
    if not folders:
        return NetworkRow(name, "", None, "not built: wetread models build")
    try:
        built = read_record(folders[-1])
    except WetreadError:
        return NetworkRow(name, folders[-1].name, None, "without a record: wetread models build")
    return NetworkRow(name, built.version, built.figures.agreement, "")


def _change(entry: Entry) -> ChangeRow:
    after = entry.after.version if entry.after else ""
    return ChangeRow(
        entry.at, str(entry.action), entry.by, entry.before.version, after, entry.reason
    )

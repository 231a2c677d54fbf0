"""Gauges show what is so now, and no longer what was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from gateway import eventually, settings
from network.neighbours import free_port
from tiny_model import TinyModel
from wetread import gauges
from wetread.gauges import Gauges, Watched
from wetread.infer.shelf import ModelShelf
from wetread.ledger import Ledger, Worker
from wetread.receive.spool import Spool


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "LOOK_SECONDS", 0.05)


@pytest.fixture
def watched(tmp_path: Path, ledger: Ledger, tiny_ct: TinyModel) -> Iterator[Watched]:
    away = {"bundle": str(tiny_ct.bundle), "backend": "triton"}
    models: dict[str, Any] = {
        "gauged": {"bundle": str(tiny_ct.bundle)},
        "away": {**away, "triton_url": f"grpc://127.0.0.1:{free_port()}"},
    }
    (tmp_path / "out").mkdir()
    config = settings(
        tmp_path,
        tiny_ct,
        {"out": {"kind": "folder", "path": str(tmp_path / "out")}},
        models=models,
        rules=[],
    )
    spool = Spool(config.spool.path, 0)
    shelf = ModelShelf(config.models, config.model_repository)
    found = Watched(config, ledger, spool, shelf, lambda: 7)
    running = Gauges(found)
    running.start()
    yield found
    running.stop(10)
    shelf.close()


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_a_model_is_shown_as_open_once_it_is(watched: Watched) -> None:
    eventually(lambda: shown("wetread_model_open", model="gauged") == 0.0)
    weights = watched.models.get("gauged").identity.weights_sha256[:12]
    eventually(lambda: shown("wetread_model_open", model="gauged") == 1.0)
    named = {"model": "gauged", "version": "0.0.1", "weights": weights}
    assert shown("wetread_model_info", **named) == 1.0
    watched.models.close()
    eventually(lambda: shown("wetread_model_info", **named) is None)


def test_a_triton_that_is_away_is_shown_so(watched: Watched) -> None:
    [url] = watched.config.models["away"].triton_url  # type: ignore[union-attr]
    eventually(lambda: shown("wetread_triton_up", endpoint=url) == 0.0)


def test_disk_and_associations(watched: Watched) -> None:
    eventually(lambda: shown("wetread_associations") == 7.0)
    free, size = shown("wetread_spool_free_bytes"), shown("wetread_spool_disk_bytes")
    assert free is not None
    assert size is not None
    assert 0 < free <= size


def test_a_worker_is_shown_until_it_ends(watched: Watched) -> None:
    book = watched.ledger.workers
    book.begin(Worker("gauged:1", "gauged", "here", "boot", 1, 1, has_doors=True), 30.0)
    name = "wetread_worker_lease_end_timestamp_seconds"
    eventually(lambda: shown(name, worker="gauged") == 1_000_030.0)
    book.end()
    eventually(lambda: shown(name, worker="gauged") is None)


def test_a_ledger_that_does_not_answer_is_shown_so(watched: Watched) -> None:
    eventually(lambda: shown("wetread_ledger_up") == 1.0)
    with watched.ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO jobs_away")
    eventually(lambda: shown("wetread_ledger_up") == 0.0)
    with watched.ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs_away RENAME TO jobs")
    eventually(lambda: shown("wetread_ledger_up") == 1.0)

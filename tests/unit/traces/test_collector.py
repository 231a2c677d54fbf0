"""What a collector is sent and what it may answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from network.neighbours import free_port
from otlp import receiving, value_of
from wetread.config import TracesConfig
from wetread.errors import ConfigError, DestinationUnavailableError
from wetread.traces.collector import Collector
from wetread.traces.spans import Span

ROOT = Span(b"t" * 16, b"s" * 8, b"", "study", 1.5, 3.25, {"wetread.instances": 6})
MODULE = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"


def test_a_span_arrives_with_its_times_its_error_and_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    (tmp_path / "token").write_text("secret\n")
    with receiving() as receiver:
        config = TracesConfig(endpoint=f"{receiver.endpoint}/", token_file=tmp_path / "token")
        collector = Collector(config)
        failed = ROOT.child("route", 1.5, 1.0, error="RoutingError")
        assert collector.send([ROOT, failed]) == 0
        collector.close()
    [headers] = receiver.headers
    assert headers["path"] == "/v1/traces"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Authorization"] == "Bearer secret"
    study, route = receiver.spans()
    assert (study.start_time_unix_nano, study.end_time_unix_nano) == (1_500_000_000, 3_250_000_000)
    assert (study.status.code, value_of(study, "wetread.instances")) == (0, 6)
    assert route.start_time_unix_nano == route.end_time_unix_nano
    assert route.parent_span_id == study.span_id != route.span_id
    assert (route.status.code, route.status.message) == (2, "RoutingError")
    assert value_of(route, "error.type") == "RoutingError"


def test_spans_that_the_collector_does_not_want_are_counted() -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 3
    with receiving() as receiver:
        receiver.answer = answer.SerializeToString()
        assert Collector(TracesConfig(endpoint=receiver.endpoint)).send([ROOT]) == 3


@pytest.mark.parametrize(
    ("status", "answer", "fact", "hint"),
    [
        (404, b"", "answered HTTP 404", "/v1/traces is added"),
        (401, b"", "answered HTTP 401", "token_file"),
        (503, b"", "answered HTTP 503", "collector's log"),
        (307, b"", "answered HTTP 307", "collector's log"),
        (200, b"<html>", "does not answer as OTLP says", "/v1/traces is added"),
    ],
)
def test_every_other_answer_is_an_error(status: int, answer: bytes, fact: str, hint: str) -> None:
    with receiving() as receiver:
        receiver.status, receiver.answer = status, answer
        with pytest.raises(DestinationUnavailableError, match=fact) as caught:
            Collector(TracesConfig(endpoint=receiver.endpoint)).send([ROOT])
    assert hint in caught.value.hint


def test_a_collector_that_is_away_is_named() -> None:
    port = free_port()
    with pytest.raises(DestinationUnavailableError, match=f"{port}/v1/traces cannot be reached"):
        Collector(TracesConfig(endpoint=f"http://127.0.0.1:{port}")).send([ROOT])


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        Collector(TracesConfig(endpoint="http://127.0.0.1:4318"))
    assert "wetread[otel]" in caught.value.hint


def test_without_an_endpoint_nothing_is_imported_and_no_thread_starts(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "from wetread.config import TracesConfig\n"
        "from wetread.ledger import Ledger\n"
        "from wetread.traces.exporter import TraceExporter\n"
        f"exporter = TraceExporter(TracesConfig(), Ledger('sqlite:///{tmp_path / 'ledger'}'))\n"
        "exporter.start()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.proto')])\n"
        "print([each.name for each in threading.enumerate()])\n"
        "exporter.stop(1.0)\n"
    )
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['MainThread']"]

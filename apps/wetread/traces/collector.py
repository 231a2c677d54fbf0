"""A collector of OpenTelemetry traces: OTLP over HTTP, in protobuf.

The messages are sent as they are, without OpenTelemetry's SDK: it has its own retries and logs, and
OTEL_* variables of the environment could send the spans elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import httpx
import structlog

from wetread import __version__
from wetread.config import TracesConfig
from wetread.deliver.web import open_client
from wetread.errors import ConfigError, DestinationUnavailableError
from wetread.traces.spans import Attributes, Span

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

log = structlog.get_logger()

_PROTOBUF = {"Content-Type": "application/x-protobuf"}
_HINTS = {
    401: "check traces.token_file",
    403: "check traces.token_file",
    404: "traces.endpoint is the collector's base; /v1/traces is added to it",
}


class Collector:
    """What takes spans. Raises ConfigError without the extra `otel`, or for its files."""

    def __init__(self, config: TracesConfig) -> None:
        try:
            import opentelemetry.proto.collector.trace.v1.trace_service_pb2  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "traces.endpoint needs the package opentelemetry-proto, which is not installed",
                hint="install the extra: pip install 'wetread[otel]'",
            ) from error
        self._url = f"{config.endpoint.rstrip('/')}/v1/traces"
        self._client = open_client(config)

    def send(self, spans: Sequence[Span]) -> int:
        """Send in one request, and say how many of them the collector did not want.

        Raises DestinationUnavailableError for every other answer than its consent.
        """
        try:
            response = self._client.post(self._url, headers=_PROTOBUF, content=to_otlp(spans))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DestinationUnavailableError(
                f"{self._url} cannot be reached: {error or type(error).__name__}",
                hint="check that the collector runs, and traces.endpoint",
            ) from error
        if not response.is_success:
            raise DestinationUnavailableError(
                f"{self._url} answered HTTP {response.status_code}",
                hint=_HINTS.get(response.status_code, "look at the collector's log"),
            )
        return self._rejected(response.content)

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _rejected(self, content: bytes) -> int:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceResponse,
        )

        try:
            answer = ExportTraceServiceResponse.FromString(content)
        except DecodeError as error:
            raise DestinationUnavailableError(
                f"{self._url} does not answer as OTLP says", hint=_HINTS[404]
            ) from error
        return int(answer.partial_success.rejected_spans)


def to_otlp(spans: Sequence[Span]) -> bytes:
    """An ExportTraceServiceRequest of these spans."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
    from opentelemetry.proto.trace.v1.trace_pb2 import Status

    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    about = {"service.name": "wetread", "service.version": __version__}
    resource.resource.attributes.extend(_attributes(about))
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "wetread", __version__
    for each in spans:
        named = {**each.attributes, **({"error.type": each.error} if each.error else {})}
        span = scope.spans.add(
            trace_id=each.trace_id,
            span_id=each.span_id,
            parent_span_id=each.parent_id,
            name=each.name,
            kind=OtlpSpan.SPAN_KIND_INTERNAL,
            start_time_unix_nano=_nanoseconds(each.start),
            end_time_unix_nano=_nanoseconds(each.end),
            attributes=_attributes(named),
        )
        if each.error:
            span.status.code, span.status.message = Status.STATUS_CODE_ERROR, each.error
    return bytes(request.SerializeToString())


def _attributes(attributes: Attributes) -> list[KeyValue]:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    return [
        KeyValue(
            key=key,
            value=AnyValue(int_value=value)
            if isinstance(value, int)
            else AnyValue(string_value=value),
        )
        for key, value in attributes.items()
    ]


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)

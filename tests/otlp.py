"""A collector of traces of our own: takes OTLP over HTTP, and keeps what it took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Receiver:
    """What came, with what it answers."""

    port: int = 0
    status: int = 200
    answer: bytes = b""
    headers: list[dict[str, str]] = field(default_factory=list)
    refused: int = 0
    taken: list[bytes] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self) -> list[Span]:
        """All that were taken, in order."""
        requests = [ExportTraceServiceRequest.FromString(each) for each in self.taken]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver on loopback, on a free port unless one is named."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.headers.append({"path": self.path, **self.headers})
            if receiver.status == 200:
                receiver.taken.append(body)
            else:
                receiver.refused += 1
            self.send_response(receiver.status)
            self.send_header("Content-Length", str(len(receiver.answer)))
            self.end_headers()
            self.wfile.write(receiver.answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        receiver.port = server.server_port
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def value_of(span: Span, key: str) -> str | int | None:
    """An attribute; None if it is not there."""
    for each in span.attributes:
        if each.key == key:
            return getattr(each.value, str(each.value.WhichOneof("value")))
    return None

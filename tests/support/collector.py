"""OpenTelemetry collectors of tests: they keep the spans that they get by OTLP/HTTP or OTLP/gRPC."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from .ports import wait_until

VALUES: dict[str, Callable[[Any], Any]] = {
    "string_value": str,
    "int_value": int,
    "array_value": lambda found: [each.string_value for each in found.values],
}


class Span(NamedTuple):
    """One span. Identifiers are in hexadecimal, `attributes` have the types str, int and list[str]."""

    name: str
    trace: str
    span: str
    parent: str
    kind: int
    seconds: float
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """The spans so far, the fields of each export, and the number of spans of each export."""

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[Span] = []
        self.fields: list[dict[str, str]] = []
        self.batches: list[int] = []
        self.hold = threading.Event()
        """Exports are answered while it is set."""
        self.hold.set()

    def take(self, request: Any, fields: dict[str, str]) -> None:
        """Keep the spans of an ExportTraceServiceRequest."""
        before = len(self.spans)
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                for each in scope.spans:
                    self.spans.append(
                        Span(
                            each.name,
                            each.trace_id.hex(),
                            each.span_id.hex(),
                            each.parent_span_id.hex(),
                            each.kind,
                            (each.end_time_unix_nano - each.start_time_unix_nano) / 1e9,
                            each.status.code == 2,
                            _values(each.attributes),
                            resource,
                        )
                    )
        self.batches.append(len(self.spans) - before)
        self.fields.append(fields)

    def wait(self, count: int) -> list[Span]:
        """Return the spans once there are `count`."""
        wait_until(lambda: len(self.spans) >= count, f"{count} spans, there are {len(self.spans)}", 60)
        return self.spans


def _values(attributes: Any) -> dict[str, Any]:
    found = {}
    for each in attributes:
        kind = each.value.WhichOneof("value")
        found[each.key] = VALUES[kind](getattr(each.value, kind))
    return found


@contextmanager
def http_collector(tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """Run a collector at `/v1/traces` for OTLP/HTTP."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            assert collector.hold.wait(60)
            if self.path == "/v1/traces":
                collector.take(ExportTraceServiceRequest.FromString(body), {k.lower(): v for k, v in self.headers.items()})
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


@contextmanager
def grpc_collector(tls: tuple[bytes, bytes] | None = None) -> Iterator[Collector]:
    """Run a collector for OTLP/gRPC; `tls` is the key and the certificates of its server."""
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    collector = Collector()

    class Servicer(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            assert collector.hold.wait(60)
            collector.take(request, {each.key: each.value for each in context.invocation_metadata()})
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
    if tls is None:
        collector.port = server.add_insecure_port("127.0.0.1:0")
    else:
        collector.port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([tls]))
    server.start()
    try:
        yield collector
    finally:
        server.stop(1).wait(30)

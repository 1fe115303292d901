"""The exporter: spans go through OpenTelemetry's SDK to a collector, in batches, beside the requests.

Rules:
- An endpoint with a path is the URL of OTLP/HTTP. One without is OTLP/gRPC, as in nginx.
- The exporter of a process starts with its first span, thus after the fork.
- A request never waits for the collector. With `batch_size` times `batch_count` spans in the queue the SDK drops the oldest.
- The messages of the SDK go to the error log.
- The end of a process waits for the last spans, for a few seconds at most.
Source: ngx_otel_module; the OpenTelemetry protocol (OTLP) 1.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode
from requests import Session

from ..logs import errorlog
from ..net import in_system_thread

if TYPE_CHECKING:
    from ..config import OtelExporter
    from .context import TraceContext
    from .spans import Value

TIMEOUT = 5
"""Seconds that one export may take, with its repetitions."""
LAST = 3.0
"""Seconds after which no export begins when the process ends."""
_SCOPE = InstrumentationScope("wsgi_proxy")


class Exporter:
    """The queue of the spans of one process, and their transport to the collector."""

    def __init__(self, settings: OtelExporter) -> None:
        self._settings = settings
        self._resource = Resource({"service.name": settings.service_name, **dict(settings.resource)})
        self._lock = threading.Lock()
        self._pid = 0
        self._processor: BatchSpanProcessor | None = None
        self._sender: _Sender | None = None

    def add(
        self, name: str, context: TraceContext, started: float, ended: float, attributes: Mapping[str, Value], failed: bool
    ) -> None:
        """Queue a span. Times are in seconds since 1970; `failed` sets the status Error."""
        trace = int(context.trace, 16)
        sampled = TraceFlags(TraceFlags.SAMPLED)
        parent = SpanContext(trace, int(context.parent, 16), True, sampled) if context.parent else None
        span = ReadableSpan(
            name=name,
            context=SpanContext(trace, int(context.span, 16), False, sampled),
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=int(started * 1e9),
            end_time=int(ended * 1e9),
            instrumentation_scope=_SCOPE,
        )
        self._running().on_end(span)

    def _running(self) -> BatchSpanProcessor:
        """Return the processor of this process, started by its first span."""
        with self._lock:
            if self._processor is None or self._pid != os.getpid():
                settings = self._settings
                _log_to_error_log()
                self._sender = _Sender(settings)
                self._processor = BatchSpanProcessor(
                    self._sender,
                    max_queue_size=settings.batch_size * settings.batch_count,
                    schedule_delay_millis=settings.interval * 1000,
                    max_export_batch_size=settings.batch_size,
                )
                self._pid = os.getpid()
                # ProxyWorker closes the application; for other servers the interpreter's end does.
                atexit.register(self.close)
            return self._processor

    def close(self) -> None:
        """Export the spans that wait. No export begins after `LAST` seconds."""
        processor, self._processor = self._processor, None
        if processor is not None and self._sender is not None and self._pid == os.getpid():
            self._sender.ends = time.monotonic() + LAST
            processor.shutdown()  # type: ignore[no-untyped-call]


class _Sender(SpanExporter):
    """Sends batches by OTLP/HTTP or OTLP/gRPC. gRPC blocks outside Python, so it runs in a thread of the system."""

    def __init__(self, settings: OtelExporter) -> None:
        self._exporter: SpanExporter = in_system_thread(_exporter, settings)
        self._endpoint = settings.endpoint
        self.ends = 0.0
        """The monotonic time after which no export begins; 0 for none."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch and return its result. The SDK logs the reason of a failure, at the level `warn` for OTLP/HTTP."""
        result = SpanExportResult.FAILURE
        if not self.ends or time.monotonic() < self.ends:
            result = in_system_thread(self._exporter.export, spans)
        if result is not SpanExportResult.SUCCESS:
            errorlog.line("error", f"OTel: {len(spans)} spans are lost, {self._endpoint} has not taken them")
        return result

    def shutdown(self) -> None:
        """End a repetition that waits."""
        in_system_thread(self._exporter.shutdown)


def _exporter(settings: OtelExporter) -> SpanExporter:
    """Return the SDK's exporter for an endpoint."""
    url = urlsplit(settings.endpoint if "://" in settings.endpoint else f"http://{settings.endpoint}")
    certificate = settings.trusted_certificate or None
    if url.path.strip("/"):
        session = Session()
        # In requests, REQUESTS_CA_BUNDLE takes precedence over the certificate that is given, and http_proxy over the endpoint.
        session.trust_env = False
        headers = dict(settings.headers)
        return HttpExporter(url.geturl(), certificate_file=certificate, headers=headers, timeout=TIMEOUT, session=session)
    credentials: Any = None
    if certificate is not None and url.scheme == "https":
        import grpc

        with open(certificate, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
    # Names of gRPC's metadata are in lower case.
    metadata = tuple((name.lower(), value) for name, value in settings.headers)
    return GrpcExporter(url.geturl(), insecure=url.scheme != "https", credentials=credentials, headers=metadata, timeout=TIMEOUT)


class _ErrorLog(logging.Handler):
    """Writes the SDK's warnings and errors to the error log."""

    def emit(self, record: logging.LogRecord) -> None:
        errorlog.line("error" if record.levelno >= logging.ERROR else "warn", f"OTel: {record.getMessage()}")


def _log_to_error_log() -> None:
    """Send the SDK's messages to the error log, once in a process."""
    log = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _ErrorLog) for handler in log.handlers):
        log.addHandler(_ErrorLog(logging.WARNING))

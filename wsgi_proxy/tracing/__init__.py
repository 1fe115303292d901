"""Traces: the W3C trace context of requests, and their spans for an OpenTelemetry collector."""

from .context import begin, identifier, traceparent, tracestate
from .spans import Spans, missing_package

__all__ = ["Spans", "begin", "identifier", "missing_package", "traceparent", "tracestate"]

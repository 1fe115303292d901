"""Spans: one for each traced request, with the attributes of nginx's module and those of the configuration.

Rules:
- A span is made when its request has ended, from templates that the configuration has compiled.
- OpenTelemetry's packages are imported only if the configuration has an `otel_exporter`.
Source: ngx_otel_module; OpenTelemetry's semantic conventions for HTTP, version 1.16.0.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import OtelExporter, SpanAttribute
    from ..exchange import Exchange

Value = str | int | tuple[str, ...]
"""A value of a span's attribute."""

_LISTS = ("http.request.header.", "http.response.header.")
"""Attributes whose values are lists of texts."""


class Spans:
    """The spans of one configuration in one process."""

    def __init__(self, settings: OtelExporter) -> None:
        from .otlp import Exporter

        self._attributes = settings.attributes
        self._exporter = Exporter(settings)

    def ended(self, exchange: Exchange) -> None:
        """Hand over the span of a request that has ended, if it is traced."""
        context = exchange.trace_context
        if context is None or not context.recorded:
            return
        location = exchange.location
        named = location.core.span_name
        name = location.pattern if named is None else named(exchange)
        attributes = values_of(self._attributes, exchange)
        if location.pattern:
            attributes["http.route"] = location.pattern
        attributes |= values_of(location.core.span_attributes, exchange)
        self._exporter.add(_readable(name), context, exchange.started, exchange.finished_at, attributes, exchange.status >= 500)

    def close(self) -> None:
        """Export the spans that wait, within a few seconds."""
        self._exporter.close()


def missing_package() -> str:
    """Return the name of a package that `otel_exporter` lacks, "" if everything is installed."""
    for module, package in (
        ("opentelemetry.sdk", "opentelemetry-sdk"),
        ("opentelemetry.exporter.otlp.proto.http", "opentelemetry-exporter-otlp-proto-http"),
        ("opentelemetry.exporter.otlp.proto.grpc", "opentelemetry-exporter-otlp-proto-grpc"),
    ):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # a package around it is missing
            found = None
        if found is None:
            return package
    return ""


def values_of(attributes: tuple[SpanAttribute, ...], exchange: Exchange) -> dict[str, Value]:
    """Return the values of the attributes; one whose text is empty is left out, unless the configuration names it."""
    found: dict[str, Value] = {}
    for each in attributes:
        text = _readable(each.value(exchange))
        if each.number:
            found[each.name] = int(text) if text.isdecimal() else 0
        elif each.name.startswith(_LISTS):
            found[each.name] = (text,)
        elif text or not each.optional:
            found[each.name] = text
    return found


def _readable(text: str) -> str:
    """Return a text of bytes as Unicode, as OTLP wants it; bytes that are no UTF-8 are replaced."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")

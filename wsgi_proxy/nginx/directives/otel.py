"""ngx_otel_module: the trace context, the spans of requests, and the collector that gets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...config import OtelExporter, SpanAttribute
from ...tracing import missing_package
from . import values
from .reading import Reading
from .row import ALL, Bad, BadValue, Level, Row, Statement, listed, special, value

if TYPE_CHECKING:
    from ...exchange import Exchange

_ARGUMENTS = {"endpoint": 1, "interval": 1, "batch_size": 1, "batch_count": 1, "trusted_certificate": 1, "header": 2}
"""The number of arguments of each directive of `otel_exporter`."""


def _exporter(level: Level, statement: Statement) -> None:
    reading = level.reading
    if reading.otel is not None:
        raise BadValue("is duplicate")
    package = missing_package()
    if package:
        raise Bad(f'"otel_exporter" needs the package {package}: pip install "wsgi-proxy-nginx[otel]"')
    found: dict[str, Any] = {"headers": ()}
    for inner in statement.block or ():
        reading.guarded(inner.place, lambda inner=inner: _setting(level, inner, found))  # type: ignore[misc]
    if "endpoint" not in found:
        raise Bad('"otel_exporter" requires "endpoint"')
    reading.otel = OtelExporter(**found)


def _setting(level: Level, inner: Statement, found: dict[str, Any]) -> None:
    name, args = inner.name, inner.args
    if name not in _ARGUMENTS:
        raise Bad(f'unknown directive "{name}" in "otel_exporter"')
    if len(args) != _ARGUMENTS[name] or inner.block is not None:
        raise Bad(f'invalid number of arguments in "{name}" directive of "otel_exporter"')
    if name == "header":
        found["headers"] += ((args[0], args[1]),)
    elif name in found:
        raise Bad(f'"{name}" directive of "otel_exporter" is duplicate')
    elif name == "endpoint":
        found[name] = _endpoint(args[0])
    elif name == "trusted_certificate":
        found[name] = level.reading.absolute(args[0], beside_configuration=True)
    else:
        parsed = values.parse_time(args[0]) if name == "interval" else values.parse_number(args[0])
        if not parsed:
            raise Bad(f'"{name}" directive of "otel_exporter" invalid value')
        found[name] = parsed


def _endpoint(text: str) -> str:
    scheme, separator, rest = text.rpartition("://")
    host, _, port = rest.partition("/")[0].rpartition(":")
    if scheme not in ("", "http", "https") or separator and not scheme or not rest or host and not values.parse_number(port):
        raise Bad(f'invalid endpoint "{text}" in "otel_exporter": [http[s]://]host:port, or a URL with a path for OTLP/HTTP')
    return text


def _needs_exporter(level: Level, args: list[str]) -> Any:
    def known() -> None:
        if level.reading.otel is None:
            raise Bad('"otel_exporter" block is missing')

    level.reading.later(level.reading.names.place, known)
    return level.template(args[0])


def otel_exporter(reading: Reading, http: Level | None) -> OtelExporter | None:
    """Return the exporter of a configuration with its resource and the attributes of all spans; None without an exporter."""
    if reading.otel is None or http is None:
        return None
    return replace(
        reading.otel,
        service_name=http.own.get("otel.service_name", OtelExporter.service_name),
        resource=tuple(http.own.get("otel.resource", ())),
        attributes=_attributes(http),
    )


def _attributes(level: Level) -> tuple[SpanAttribute, ...]:
    """Return the attributes that nginx's module gives every span, apart from `http.route`."""
    protocol = _changed(level, "$server_protocol", lambda text: text.removeprefix("HTTP/"))
    scheme = level.template("$scheme")
    port = level.template("$server_port")

    def unusual_port(exchange: Exchange) -> str:
        number = port(exchange)
        return "" if number == ("443" if scheme(exchange) == "https" else "80") else number

    return (
        SpanAttribute("http.method", level.template("$request_method")),
        SpanAttribute("http.target", level.template("$request_uri")),
        SpanAttribute("http.scheme", scheme),
        SpanAttribute("http.flavor", protocol, optional=True),
        SpanAttribute("http.user_agent", level.template("$http_user_agent"), optional=True),
        SpanAttribute("http.request_content_length", level.template("$content_length"), number=True),
        SpanAttribute("http.response_content_length", level.template("$body_bytes_sent"), number=True),
        SpanAttribute("http.status_code", level.template("$status"), number=True),
        # The server block's name, if it has one.
        SpanAttribute("net.host.name", level.template("$host")),
        SpanAttribute("net.host.name", level.template("$server_name"), optional=True),
        SpanAttribute("net.host.port", unusual_port, number=True, optional=True),
        SpanAttribute("net.sock.peer.addr", level.template("$remote_addr")),
        SpanAttribute("net.sock.peer.port", level.template("$remote_port"), number=True),
    )


def _changed(level: Level, text: str, change: Callable[[str], str]) -> Callable[[Exchange], str]:
    template = level.template(text)
    return lambda exchange: change(template(exchange))


def _span_attribute(level: Level, args: list[str]) -> SpanAttribute:
    return SpanAttribute(args[0], level.template(args[1]))


def _pair(level: Level, args: list[str]) -> tuple[str, str]:
    return args[0], args[1]


ROWS: tuple[Row, ...] = (
    special("otel_exporter", "http", "BLOCK NOARGS", _exporter),
    value("otel_service_name", "http", "TAKE1", "otel.service_name", lambda level, args: args[0]),
    listed("otel_resource_attr", "http", "TAKE2", "otel.resource", _pair),
    value("otel_trace", ALL, "TAKE1", "core.trace", _needs_exporter),
    value("otel_trace_context", ALL, "TAKE1", "core.trace_context", values.word("ignore", "extract", "inject", "propagate")),
    value("otel_span_name", ALL, "TAKE1", "core.span_name", values.template),
    listed("otel_span_attr", ALL, "TAKE2", "core.span_attributes", _span_attribute),
)

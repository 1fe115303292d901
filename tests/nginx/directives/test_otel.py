"""The directives of ngx_otel_module; its messages are those of its source."""

from __future__ import annotations

import sys

import pytest

from tests.support.directive import faults, http, location, said

EXPORTER = "otel_exporter { endpoint localhost:4317; }"


def test_the_exporter_and_its_resource() -> None:
    found = http(f"{EXPORTER} server {{ }}").otel
    assert found is not None
    assert (found.endpoint, found.interval, found.batch_size, found.batch_count) == ("localhost:4317", 5.0, 512, 4)
    assert (found.headers, found.trusted_certificate, found.service_name, found.resource) == ((), "", "unknown_service:nginx", ())
    text = """otel_exporter { endpoint https://h:4318/v1/traces; interval 1s; batch_size 2; batch_count 3; header A b; header C d;
        trusted_certificate ca.pem; } otel_service_name shop; otel_resource_attr a b; otel_resource_attr c d; server { }"""
    found = http(text).otel
    assert found is not None
    assert (found.endpoint, found.interval, found.batch_size, found.batch_count) == ("https://h:4318/v1/traces", 1.0, 2, 3)
    assert (found.headers, found.trusted_certificate) == ((("A", "b"), ("C", "d")), "/etc/x/ca.pem")
    assert (found.service_name, found.resource) == ("shop", (("a", "b"), ("c", "d")))
    assert http("server { }").otel is None


def test_the_settings_of_spans() -> None:
    core = location("otel_span_attr a b; otel_span_name n;", f"{EXPORTER} otel_trace on; otel_span_attr x y;").core
    assert core.trace is not None and said(core.trace) == "on" and said(core.span_name) == "n"
    assert [(each.name, said(each.value)) for each in core.span_attributes] == [("a", "b")]
    core = location("", f"{EXPORTER} otel_trace on; otel_span_attr x y;").core
    assert [(each.name, said(each.value)) for each in core.span_attributes] == [("x", "y")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("otel_exporter { }", '"otel_exporter" requires "endpoint"'),
        ("otel_exporter { endpoint a:1; endpoint b:1; }", '"endpoint" directive of "otel_exporter" is duplicate'),
        ("otel_exporter { endpoint a:1; frequency 1; }", 'unknown directive "frequency" in "otel_exporter"'),
        ("otel_exporter { endpoint a:1 b; }", 'invalid number of arguments in "endpoint" directive of "otel_exporter"'),
        ("otel_exporter { endpoint a:1; header A; }", 'invalid number of arguments in "header" directive of "otel_exporter"'),
        ("otel_exporter { endpoint a:1; interval x; }", '"interval" directive of "otel_exporter" invalid value'),
        ("otel_exporter { endpoint a:1; batch_size 0; }", '"batch_size" directive of "otel_exporter" invalid value'),
        (f"{EXPORTER} {EXPORTER}", '"otel_exporter" directive is duplicate'),
        ("otel_trace on;", '"otel_exporter" block is missing'),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert message in faults(f"{text} server {{ }}")


@pytest.mark.parametrize("endpoint", ["", "localhost:x", "ftp://h:1", "://h:1", "http://", "localhost:"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    assert any('invalid endpoint "' in fault for fault in faults(f"otel_exporter {{ endpoint '{endpoint}'; }} server {{ }}"))


def test_a_missing_package_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    (message,) = faults(f"{EXPORTER} server {{ }}")
    assert message == '"otel_exporter" needs the package opentelemetry-sdk: pip install "wsgi-proxy-nginx[otel]"'

"""Spans of requests, as a collector gets them from a whole proxy."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Recorder, Running, fetch, free_port, reply, run_proxy, session_members, wait_until
from tests.support.collector import Collector, grpc_collector, http_collector
from wsgi_proxy.tracing import missing_package
from wsgi_proxy.tracing.spans import _readable

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = (("traceparent", f"00-{TRACE}-{SPAN}-{flag}") for flag in ("01", "00"))


@contextmanager
def traced(folder: Path, endpoint: str, places: str, http: str = "", exporter: str = "", head: str = "") -> Iterator[Running]:
    port = free_port()
    text = f"""{head} events {{}} http {{ access_log off;
        otel_exporter {{ endpoint {endpoint}; interval 100ms; {exporter} }} {http}
        server {{ listen 127.0.0.1:{port}; server_name example.org; {places} }} }}"""
    with run_proxy(text, folder) as proxy:
        yield proxy


@pytest.fixture(params=["http", "grpc"])
def collector(request: pytest.FixtureRequest) -> Iterator[tuple[Collector, str]]:
    """A collector and its endpoint."""
    if request.param == "http":
        with http_collector() as found:
            yield found, f"http://127.0.0.1:{found.port}/v1/traces"
    else:
        with grpc_collector() as found:
            yield found, f"127.0.0.1:{found.port}"


def test_a_span_has_what_nginx_gives_it(collector: tuple[Collector, str], tmp_path: Path) -> None:
    spans, endpoint = collector
    with Recorder(lambda request, wire: reply(b"no", 503, [("X-Kind", "late")])) as upstream:
        places = f"""location /a/ {{ proxy_pass http://{upstream.address}; otel_trace on; otel_trace_context propagate;
            otel_span_attr tenant $arg_tenant; otel_span_attr http.response.header.x-kind $upstream_http_x_kind; }}"""
        outer = "otel_service_name shop; otel_resource_attr deployment.environment test;"
        with traced(tmp_path, endpoint, places, outer, "header X-Token secret;") as proxy:
            head = [SAMPLED, ("User-Agent", "Tester/\xc3\xa9"), ("Host", "example.org")]
            assert fetch(proxy.port, "/a/b?tenant=7", method="POST", headers=head, body=b"abc").status == 503
            (span,) = spans.wait(1)
        (request,) = upstream.requests
    assert (span.name, span.trace, span.parent, span.kind, span.failed) == ("/a/", TRACE, SPAN, 2, True)
    assert request.get("traceparent") == f"00-{TRACE}-{span.span}-01"
    assert span.resource == {"service.name": "shop", "deployment.environment": "test"}
    assert 0 <= span.seconds < 60
    peer = span.attributes.pop("net.sock.peer.port")
    assert isinstance(peer, int) and peer > 0
    assert span.attributes == {
        "http.method": "POST",
        "http.target": "/a/b?tenant=7",
        "http.route": "/a/",
        "http.scheme": "http",
        "http.flavor": "1.1",
        "http.user_agent": "Tester/é",
        "http.request_content_length": 3,
        "http.response_content_length": 2,
        "http.status_code": 503,
        "net.host.name": "example.org",
        "net.host.port": proxy.port,
        "net.sock.peer.addr": "127.0.0.1",
        "tenant": "7",
        "http.response.header.x-kind": ["late"],
    }
    assert spans.fields[0]["x-token"] == "secret"


def test_the_first_location_decides_and_the_last_one_names(tmp_path: Path) -> None:
    places = """location /on { otel_trace on; otel_span_name "on $uri"; try_files /none /off; }
        location /off { otel_trace off; return 200 $otel_span_id; }
        location /none { return 200 none; }
        location /rewritten { rewrite ^ /ratio break; otel_trace on; proxy_pass http://unix:/no/such; }
        location /again { rewrite ^ /rewritten last; }
        location /ratio { otel_trace $otel_parent_sampled; otel_trace_context extract; return 200 $otel_parent_id; }
        location /wrong { otel_trace $arg_x; return 200 wrong; }
        location @gone { return 410; } location /gone { otel_trace 1; error_page 404 = @gone; return 404; }"""
    with http_collector() as spans, traced(tmp_path, f"http://127.0.0.1:{spans.port}/v1/traces", places) as proxy:
        port = proxy.port
        span = fetch(port, "/on").text
        for target in ("/off", "/none", "/wrong?x=yes"):
            assert fetch(port, target).status == 200
        assert fetch(port, "/ratio", headers=[UNSAMPLED]).text == SPAN
        assert fetch(port, "/ratio").text == ""
        assert fetch(port, "/ratio", headers=[SAMPLED]).text == SPAN
        assert fetch(port, "/gone").status == 410
        assert fetch(port, "/rewritten").status == fetch(port, "/again").status == 502
        found = spans.wait(5)
        proxy.stop()
    assert [(each.name, each.attributes["http.status_code"]) for each in found] == [
        ("/off", 200),
        ("/ratio", 200),
        ("@gone", 410),
        ("/rewritten", 502),
        ("/rewritten", 502),
    ]
    assert found[0].span == span and found[0].parent == "" and (found[1].trace, found[1].parent) == (TRACE, SPAN)


def test_the_flag_for_the_upstream_is_the_decision(tmp_path: Path) -> None:
    with http_collector() as spans, Recorder() as upstream:
        places = "".join(
            f"location /{name} {{ {trace} otel_trace_context propagate; proxy_pass http://{upstream.address}; }}"
            for name, trace in (("on", "otel_trace on;"), ("off", "otel_trace off;"), ("unset", ""))
        )
        with traced(tmp_path, f"http://127.0.0.1:{spans.port}/v1/traces", places) as proxy:
            for target, field in (("/on", UNSAMPLED), ("/off", SAMPLED), ("/unset", SAMPLED)):
                assert fetch(proxy.port, target, headers=[field]).status == 200
        assert [(request.get("traceparent") or "")[-2:] for request in upstream.requests] == ["01", "00", "01"]


def test_every_worker_exports_and_the_last_spans_leave_at_the_end(collector: tuple[Collector, str], tmp_path: Path) -> None:
    spans, endpoint = collector
    places = "location / { otel_trace on; return 200 $pid; }"
    with traced(
        tmp_path, endpoint.replace("100ms", "1h"), places, exporter="batch_size 10;", head="worker_processes 2;"
    ) as proxy:
        pids: set[str] = set()
        count = 0
        while len(pids) < 2:
            pids.add(fetch(proxy.port, "/").text)
            count += 1
        assert count < 1000
    assert len(spans.spans) == count and all(number <= 10 for number in spans.batches)


def test_a_collector_that_does_not_answer_costs_no_request(collector: tuple[Collector, str], tmp_path: Path) -> None:
    spans, endpoint = collector
    places = "location / { otel_trace on; return 200 fine; }"
    with traced(tmp_path, endpoint, places, exporter="batch_size 2; batch_count 2;", head="error_log stderr warn;") as proxy:
        spans.hold.clear()
        for _ in range(20):
            assert fetch(proxy.port, "/", timeout=60).text == "fine"
        wait_until(lambda: "] OTel: Queue full" in re.sub(r"\d+#0: ", "", proxy.log()), "the line of dropped spans", 60)
        spans.hold.set()
        assert 0 < len(spans.wait(2)) < 20


def test_a_collector_that_is_absent_is_named_in_the_error_log(tmp_path: Path) -> None:
    places = "location / { otel_trace on; return 200 fine; }"
    for endpoint in (f"http://127.0.0.1:{free_port()}/v1/traces", f"127.0.0.1:{free_port()}"):
        with traced(tmp_path, endpoint, places) as proxy:
            assert fetch(proxy.port, "/").text == "fine"
            line = rf"\[error\] \d+#0: OTel: 1 spans are lost, {re.escape(endpoint)} has not taken them"
            wait_until(lambda proxy=proxy, line=line: re.search(line, proxy.log()), "a line", 60)


def test_without_the_exporter_nothing_is_imported(tmp_path: Path) -> None:
    port = free_port()
    with run_proxy(f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; return 200 x; }} }}", tmp_path) as proxy:
        assert fetch(port, "/").text == "x"
        for pid in session_members(proxy.process.pid):
            assert "cygrpc" not in Path(f"/proc/{pid}/maps").read_text()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_package() == ""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc", None)
    assert missing_package() == "opentelemetry-exporter-otlp-proto-grpc"


def test_bytes_become_text() -> None:
    assert (_readable("a"), _readable("\xc3\xa9"), _readable("\xe9")) == ("a", "é", "\ufffd")

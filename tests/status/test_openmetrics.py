"""Metrics for Prometheus: what promtool and Prometheus' own parsers say of them, and their values."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser as prometheus
from prometheus_client.openmetrics import parser as openmetrics

from tests.support import Recorder, fetch, free_port, run_proxy, wait_until
from tests.support.processes import Running
from wsgi_proxy.status import openmetrics as module
from wsgi_proxy.status.families import FAMILIES, PREFIX

CONFIGURATION = """
worker_processes 2;
events {{}}
http {{
    proxy_cache_path store keys_zone=shop:1m max_size=10m;
    limit_req_zone $arg_key zone=slow:1m rate=1r/m;
    upstream echo {{ server {up}; server {up}; server 127.0.0.1:{dead} max_fails=9; }}
    upstream checked {{ server {up}; }}
    server {{
        listen 127.0.0.1:{port};
        server_name main.test;
        location / {{ proxy_pass http://echo; }}
        location /checked {{ proxy_pass http://checked; health_check interval=1s uri=/; }}
        location ~ "\\.(a|\\"b\\")$" {{ return 404; }}
        location /cached {{ proxy_pass http://echo; proxy_cache shop; proxy_cache_valid 1h; limit_req zone=slow; }}
        location = /metrics {{ wsgi_proxy_status metrics; }}
    }}
}}
"""
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def value(found: Values, name: str, **labels: str) -> float:
    return found[PREFIX + name, frozenset(labels.items())]


def scraped(server: Running, accept: str = "") -> str:
    response = fetch(server.port, "/metrics", headers=[("Host", "main.test"), *([("Accept", accept)] if accept else [])])
    assert response.get("Content-Type") == (module.OPENMETRICS if accept else module.PROMETHEUS)
    return response.body.decode()


def parsed(text: str, parser: Any = prometheus) -> Values:
    """Return each sample's value; AssertionError for a sample that occurs twice."""
    found: Values = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def test_values_and_formats(tmp_path: Path) -> None:
    with Recorder() as up:
        text = CONFIGURATION.format(up=up.address, dead=free_port(), port=free_port())
        with run_proxy(text, tmp_path) as server:
            for _ in range(9):
                assert fetch(server.port, "/", headers=[("Host", "main.test")]).status == 200
            for target in ("/x.a", "/cached?key=1", "/cached?key=1"):
                fetch(server.port, target, headers=[("Host", "main.test")])
            wait_until(lambda: value(parsed(scraped(server)), "requests_total") == 12, "the last request to be counted")
            wait_until(lambda: "upstream_checks_total" in scraped(server), "the first health check")
            wait_until(lambda: "cache_entries" in scraped(server), "the first sweep of the cache")
            text = scraped(server)
            found = parsed(text)
            place = {"server": f"main.test:{server.port}", "location": "/"}
            assert value(found, "location_responses_total", **place, **{"class": "2xx"}) == 9
            assert value(found, "location_request_duration_seconds_count", **place) == 9
            assert value(found, "location_request_duration_seconds_bucket", **place, le="+Inf") == 9
            odd = {**place, "location": '~ \\.(a|"b")$'}
            assert value(found, "location_responses_total", **odd, **{"class": "4xx"}) == 1
            sums = {name: sum(n for (each, _), n in found.items() if each == PREFIX + name) for name in {
                "server_responses_total", "responses_total", "location_responses_total"}}  # fmt: skip
            assert set(sums.values()) == {12.0}
            peer = {"upstream": "echo", "server": up.address}
            assert value(found, "upstream_responses_total", **peer, **{"class": "2xx"}) == 10
            assert value(found, "upstream_header_duration_seconds_count", **peer) == 10
            assert value(found, "upstream_state", **peer, state="up") == 1
            assert value(found, "retries_total", upstream="echo", reason="error") > 0
            assert value(found, "limited_requests_total", limit="limit_req", zone="slow", result="rejected") == 1
            assert value(found, "cache_responses_total", zone="shop", state="MISS") == 1
            assert value(found, "cache_max_bytes", zone="shop") == 10 * 1024 * 1024
            other = parsed(scraped(server, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"), openmetrics)
            assert value(other, "requests_total") == 12 and {name for name, _ in found} == {name for name, _ in other}
            _promtool(text)


def _promtool(text: str) -> None:
    """Check the text as `promtool check metrics` does; it has no opinion on OpenMetrics."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def state() -> dict[str, Any]:
    """Return a snapshot in which every family has a sample."""
    times = {"buckets": [1, 2] + [0] * 40, "sum": 0.5, "count": 3}
    responses = {"2xx": 1}
    peer = {
        "server": "a", "weight": 1, "responses": responses, "failures": 0, "bytes_sent": 1, "bytes_received": 1, "header": times,
        "response": times, "connections": 1, "available": True, "state": "up", "checks": {"count": 1, "failed": 0, "changes": 0},
    }  # fmt: skip
    machine = {
        "machine": "m", "host": "h", "version": "1", "since": 5, "workers": 2, "requests_per_second": 1.5, "last_seen": 0.5,
    }  # fmt: skip
    zones = {"limit_req": {"z": {"passed": 1}}, "keyval": {"k": {"pairs": 2, "pending": 1}}}
    cluster = {"reachable": True, "machines": [machine], "zones": zones}
    place = {"server": "s", "location": "/", "responses": responses, "body_bytes": 1, "latency": times}
    return {
        "version": "1", "started": 1, "requests": 1, "responses": responses, "body_bytes": 1, "request_body_bytes": 0,
        "connections": {"reading": 0, "writing": 1, "waiting": 2, "accepted": 9}, "servers": [place], "locations": [place],
        "upstreams": {"u": [peer, {**peer, "connections": 4, "state": "down"}]}, "retry_reasons": {"u": {"error": 1}},
        "caches": {"c": {"states": {"HIT": 1}, "bytes": 1, "max_bytes": 2, "entries": 3}},
        "keyvals": {"k": {"pairs": 2}}, "sessions": {"s": {"sessions": 3}}, "cluster": cluster,
        "limits": {"limit_req": {"z": {"passed": 1}}}, "tls": {"handshakes": 3, "resumed": 1, "failed": 1,
        "certificates": [{"path": "/c", "not_after": 5}]}, "reloads": {"reloads": 1, "reloads_failed": 0, "last_reload": 3,
        "last_reload_ok": True}, "workers_started": 1, "worker_deaths": 0, "workers": [{"pid": 1,
        "cpu_seconds": 1.5, "memory_bytes": 5, "open_files": 1, "connections": 0}],
    }  # fmt: skip


def test_every_family_has_its_samples_in_the_table_s_order() -> None:
    text = module.exposition(state(), openmetrics=False)
    shown = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert shown == [PREFIX + family.name for family in FAMILIES]
    assert {name for name, _ in module._samples(state())} == {family.name for family in FAMILIES}


def test_servers_with_one_address_are_one() -> None:
    found = parsed(module.exposition(state(), openmetrics=False))
    peer = {"upstream": "u", "server": "a"}
    assert value(found, "upstream_connections", **peer) == 5 and value(found, "upstream_failures_total", **peer) == 0
    assert value(found, "upstream_state", **peer, state="up") == 1


def test_unknown_values_are_left_out() -> None:
    found = {**state(), "started": None, "reloads": None, "worker_deaths": None, "cluster": None}
    text = module.exposition(found, openmetrics=True)
    assert "start_time" not in text and "reload" not in text and "cluster" not in text and text.endswith("# EOF\n")
    parsed(text, openmetrics)


def test_labels_are_escaped() -> None:
    assert module._escaped('a"b\\c\nd') == 'a\\"b\\\\c\\nd'

"""Warnings about valid settings that are probably not intended."""

from __future__ import annotations

from tests.support.directive import http
from wsgi_proxy.nginx import reader as nginx

SERVERS = "server 127.0.0.1:1; server 127.0.0.1:2;"


def told(text: str, workers: int = 2) -> list[str]:
    config = nginx.loads(f"worker_processes {workers}; events {{}} http {{ {text} }}")
    return [warning.partition(" in ")[0] for warning in config.warnings]


def test_state_that_nginx_keeps_per_worker() -> None:
    assert 'upstream "u" has no "zone"' in told(f"upstream u {{ {SERVERS} }}")[0]
    assert told(f"upstream u {{ {SERVERS} }}", workers=1) == []
    assert told(f"upstream u {{ zone z 64k; {SERVERS} }}") == []
    assert told("upstream u { server 127.0.0.1:1; }") == []


def test_a_fixed_upgrade() -> None:
    def told_of(value: str) -> list[str]:
        return told(f"server {{ location / {{ proxy_pass http://127.0.0.1:1; proxy_set_header Connection {value}; }} }}")

    assert "sync workers" in told_of("Upgrade")[0]
    assert told_of("close") == told_of("$http_connection") == []


def test_caching_without_a_cache() -> None:
    location = "location / { proxy_pass http://127.0.0.1:1; proxy_no_cache $arg_x; }"
    assert told(f"server {{ {location} }}") == ['"proxy_no_cache" has no effect without "proxy_cache"']
    assert told(f"proxy_cache_path memory keys_zone=a:1m; proxy_cache a; server {{ {location} }}") == []


def test_places_inside_others_are_looked_at() -> None:
    inner = "location /a/b { proxy_pass http://127.0.0.1:1; proxy_cache_bypass 1; }"
    assert len(http(f"server {{ location /a {{ {inner} }} }}").warnings) == 1
    assert len(http(f"server {{ location @a {{ {inner.replace('location /a/b { ', '').replace('}', '')} }} }}").warnings) == 1

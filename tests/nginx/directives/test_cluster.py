"""`wsgi_proxy_cluster` and the zones that need it."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http

ZONE = "limit_req_zone $host zone=a:1m rate=1r/s sync;"


def test_an_address_with_name_and_timeout() -> None:
    cluster = http("wsgi_proxy_cluster redis://h:6379/0 name=shop timeout=50ms;").cluster
    assert cluster is not None
    assert (cluster.address, cluster.name, cluster.timeout) == ("redis://h:6379/0", "shop", 0.05)
    plain = http("wsgi_proxy_cluster unix:///run/redis.sock;").cluster
    assert plain is not None and (plain.name, plain.timeout) == ("default", 0.02)
    assert http("").cluster is None


def test_zones_share_with_sync() -> None:
    zones = http(f"{ZONE} limit_req_zone $host zone=b:1m rate=1r/s; wsgi_proxy_cluster redis://h;").limit_req_zones
    assert {name: zone.sync for name, zone in zones.items()} == {"a": True, "b": False}


def test_zones_of_connections_share_with_sync() -> None:
    zones = http("limit_conn_zone $host zone=a:1m sync; limit_conn_zone $host zone=b:1m; wsgi_proxy_cluster redis://h;")
    assert {name: zone.sync for name, zone in zones.limit_conn_zones.items()} == {"a": True, "b": False}


def test_upstreams_share_with_sync() -> None:
    server = "server 127.0.0.1:1;"
    upstreams = http(
        f"upstream a {{ zone a 64k sync; {server} }} upstream b {{ zone b 64k; {server} }} upstream c {{ zone b sync; {server} }}"
        f"upstream d {{ zone sync 64k; {server} }} wsgi_proxy_cluster redis://h;"
    ).upstreams
    assert {name: upstream.sync for name, upstream in upstreams.items()} == {"a": True, "b": False, "c": True, "d": False}
    assert upstreams["d"].zone == "sync"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (ZONE, '"sync" of "limit_req_zone" needs "wsgi_proxy_cluster"'),
        ("upstream a { zone a 64k sync; server 127.0.0.1:1; }", '"sync" of "zone" needs "wsgi_proxy_cluster"'),
        ("upstream a { zone a 64k x; server 127.0.0.1:1; }", 'invalid parameter "x"'),
        ("limit_conn_zone $host zone=a:1m sync;", '"sync" of "limit_conn_zone" needs "wsgi_proxy_cluster"'),
        ("limit_conn_zone $host zone=a:1m x;", 'invalid number of arguments in "limit_conn_zone" directive'),
        ("limit_conn_zone $host sync;", 'invalid parameter "sync"'),
        ("wsgi_proxy_cluster http://h;", 'invalid address "http://h" in "wsgi_proxy_cluster"'),
        (
            "wsgi_proxy_cluster redis+sentinel://h;",
            'invalid address "redis+sentinel://h": the service of the Sentinels is missing',
        ),
        ("wsgi_proxy_cluster redis+cluster://h/3;", 'invalid address "redis+cluster://h/3": a Redis Cluster has no databases'),
        ("wsgi_proxy_cluster redis://h?unknown=1;", 'invalid address "redis://h?unknown=1": '),
        ("wsgi_proxy_cluster redis://h port=1;", 'invalid parameter "port=1"'),
        ("wsgi_proxy_cluster redis://h timeout=0;", 'invalid parameter "timeout=0"'),
        ("wsgi_proxy_cluster redis://h name=a/b;", 'invalid parameter "name=a/b"'),
        ("wsgi_proxy_cluster redis://h; wsgi_proxy_cluster redis://i;", '"wsgi_proxy_cluster" directive is duplicate'),
    ],
)
def test_faults(text: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(text))

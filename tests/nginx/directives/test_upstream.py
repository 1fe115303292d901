"""`upstream`: servers, methods, connections kept."""

from __future__ import annotations

import pytest

from tests.support.directive import faults, http, said, upstream
from wsgi_proxy.config import Server


def test_servers() -> None:
    text = (
        "server a:1 weight=2 max_fails=3 fail_timeout=1m max_conns=4 slow_start=30s route=x; server b backup; "
        "server [::1]:2 down; server unix:/x.sock drain; server c resolve;"
    )
    one, *others = upstream(text).servers
    assert (one.address, one.weight, one.max_fails, one.fail_timeout, one.max_conns) == ("a:1", 2, 3, 60.0, 4)
    assert (one.slow_start, one.route, one.place.line) == (30.0, "x", 1)
    assert [(other.address, other.backup, other.down, other.drain, other.resolve) for other in others] == [
        ("b", True, False, False, False),
        ("[::1]:2", False, True, False, False),
        ("unix:/x.sock", False, False, True, False),
        ("c", False, False, False, True),
    ]
    assert others[0].weight == Server.weight


@pytest.mark.parametrize(
    ("written", "name", "options"),
    [
        ("", "round_robin", ()),
        ("least_conn;", "least_conn", ()),
        ("ip_hash;", "ip_hash", ()),
        ("hash $arg_x;", "hash", ()),
        ("hash $arg_x consistent;", "hash", ("consistent",)),
        ("random;", "random", ()),
        ("random two;", "random", ("two",)),
        ("random two least_conn;", "random", ("two", "least_conn")),
        ("random two least_time=last_byte;", "random", ("two", "least_time=last_byte")),
        ("least_time header;", "least_time", ("header",)),
        ("least_time last_byte inflight;", "least_time", ("last_byte", "inflight")),
        ("balance my.package:thing;", "my.package:thing", ()),
    ],
)
def test_methods(written: str, name: str, options: tuple[str, ...]) -> None:
    policy = upstream(f"{written} server 127.0.0.1:1;").policy
    assert (policy.name, policy.options, policy.key is not None) == (name, options, name == "hash")


def test_connections_and_waiting() -> None:
    text = "zone z 64k; keepalive 5; keepalive_requests 6; keepalive_time 7m; keepalive_timeout 8s; queue 9 timeout=10s;"
    found = upstream(f"{text} server 127.0.0.1:1;")
    assert (found.zone, found.keepalive, found.keepalive_requests, found.keepalive_time, found.keepalive_timeout) == (
        "z", 5, 6, 420.0, 8.0)  # fmt: skip
    assert (found.queue, found.queue_timeout) == (9, 10.0)


def test_a_block_has_name_servers_of_its_own() -> None:
    found = upstream("resolver 127.0.0.1 valid=5s; resolver_timeout 2s; server a resolve;")
    assert (found.resolver, found.resolver_valid, found.resolver_timeout) == (("127.0.0.1",), 5.0, 2.0)


def test_sticky() -> None:
    text = "sticky cookie c expires=1h domain=.x.org path=/p httponly secure samesite=lax;"
    sticky = upstream(f"{text} server 127.0.0.1:1;").sticky
    assert sticky is not None
    assert (sticky.cookie, sticky.expires, sticky.domain, sticky.path) == ("c", 3600.0, ".x.org", "/p")
    assert sticky.flags == ("httponly", "secure", "samesite=lax")


def test_a_method_defined_twice_is_told() -> None:
    config = http("upstream u { least_conn; hash $host; server 127.0.0.1:1; }")
    assert config.warnings[0].startswith("load balancing method redefined in ")
    assert config.upstreams["u"].policy.name == "hash"


def test_a_zone_may_be_sized_by_another_block() -> None:
    text = "upstream a { zone z; server 127.0.0.1:1; } upstream b { zone z 64k; server 127.0.0.1:2; }"
    assert http(text).upstreams["a"].zone == "z"


def test_one_wrong_server_is_one_fault() -> None:
    assert faults("upstream u { server a:x; }") == ['invalid port in upstream "a:x"']


def test_a_key_is_compiled() -> None:
    key = upstream("hash constant; server 127.0.0.1:1;").policy.key
    assert said(key) == "constant"

"""Directives that limit rates and connections."""

from __future__ import annotations

from tests.support.directive import http, location


def test_rates() -> None:
    zones = "limit_req_zone $host zone=s:1m rate=10r/s; limit_req_zone $host zone=m:1m rate=30r/m;"
    assert {name: zone.rate for name, zone in http(zones).limit_req_zones.items()} == {"s": 10_000, "m": 500}
    text = "limit_req zone=s; limit_req zone=m burst=5 delay=2; limit_req_status 429; limit_req_log_level warn;"
    text += "limit_req_dry_run on;"
    guard = location(text, zones).guard
    assert [(limit.zone, limit.burst, limit.delay) for limit in guard.limit_req] == [("s", 0, 0), ("m", 5, 2)]
    assert (guard.limit_req_status, guard.limit_req_log_level, guard.limit_req_dry_run) == (429, "warn", True)
    (limit,) = location("limit_req zone=s burst=3 nodelay;", zones).guard.limit_req
    assert (limit.burst, limit.delay) == (3, None)


def test_connections() -> None:
    guard = location("limit_conn c 5; limit_conn_status 429; limit_conn_dry_run on;", "limit_conn_zone $host zone=c:64k;").guard
    assert [(limit.zone, limit.number) for limit in guard.limit_conn] == [("c", 5)]
    assert (guard.limit_conn_status, guard.limit_conn_dry_run) == (429, True)


def test_a_zone_may_come_later() -> None:
    assert http("server { limit_req zone=a; } limit_req_zone $host zone=a:1m rate=1r/s;").servers

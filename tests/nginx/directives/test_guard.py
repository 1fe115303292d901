"""Access, passwords, limits, real addresses, referers, secure links; their faults are in nginx_faults.py."""

from __future__ import annotations

import re
from ipaddress import ip_network

from tests.support.directive import faults, http, location, said


def test_addresses() -> None:
    rules = location("allow 10.0.0.0/8; allow ::1; deny unix:; deny all;").guard.access
    assert [(rule.allow, rule.network) for rule in rules] == [
        (True, ip_network("10.0.0.0/8")), (True, ip_network("::1")), (False, "unix:"), (False, "all")]  # fmt: skip
    (warning,) = http("allow 10.0.0.1/8;").warnings
    assert warning.startswith("low address bits of 10.0.0.1/8 are meaningless in ")


def test_real_addresses() -> None:
    guard = location("set_real_ip_from 10.0.0.0/8; set_real_ip_from unix:; real_ip_header X-A; real_ip_recursive on;").guard
    assert (guard.real_ip_from, guard.real_ip_header, guard.real_ip_recursive) == (
        (ip_network("10.0.0.0/8"), "unix:"),
        "X-A",
        True,
    )
    assert ip_network("127.0.0.1") in location("set_real_ip_from localhost;").guard.real_ip_from


def test_passwords_and_subrequests() -> None:
    guard = location("satisfy any; auth_basic realm; auth_basic_user_file u; auth_request /a; auth_request_set $u $host;").guard
    assert (guard.satisfy_any, said(guard.auth_basic), said(guard.auth_basic_user_file)) == (True, "realm", "/etc/x/u")
    assert (guard.auth_request, [name for name, _ in guard.auth_request_set]) == ("/a", ["u"])
    off = location("auth_basic off; auth_request off;", "auth_basic realm; auth_request /a;").guard
    assert (off.auth_basic, off.auth_request) == (None, "")


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


def test_referers() -> None:
    found = location(r"valid_referers none blocked server_names *.example.org ~\.google\.;").guard.valid_referers
    assert found is not None
    *words, pattern = found
    assert words == ["none", "blocked", "server_names", "*.example.org"]
    assert isinstance(pattern, re.Pattern)


def test_secure_links() -> None:
    guard = location("secure_link $arg_md5,$arg_expires; secure_link_md5 'x $uri';").guard
    assert guard.secure_link is not None and guard.secure_link_md5 is not None
    assert location("secure_link_secret s;").guard.secure_link_secret == "s"
    message = '"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"'
    assert faults("secure_link a; secure_link_secret s;") == [message]

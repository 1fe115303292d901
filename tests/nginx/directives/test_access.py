"""Directives of the access rules: addresses, passwords, subrequests. Their faults are in nginx_faults.py."""

from __future__ import annotations

from ipaddress import ip_network

from tests.support.directive import http, location, said


def test_addresses() -> None:
    rules = location("allow 10.0.0.0/8; allow ::1; deny unix:; deny all;").guard.access
    assert [(rule.allow, rule.network) for rule in rules] == [
        (True, ip_network("10.0.0.0/8")), (True, ip_network("::1")), (False, "unix:"), (False, "all")]  # fmt: skip
    (warning,) = http("allow 10.0.0.1/8;").warnings
    assert warning.startswith("low address bits of 10.0.0.1/8 are meaningless in ")


def test_passwords_and_subrequests() -> None:
    guard = location("satisfy any; auth_basic realm; auth_basic_user_file u; auth_request /a; auth_request_set $u $host;").guard
    assert (guard.satisfy_any, said(guard.auth_basic), said(guard.auth_basic_user_file)) == (True, "realm", "/etc/x/u")
    assert (guard.auth_request, [name for name, _ in guard.auth_request_set]) == ("/a", ["u"])
    (warning,) = http("server { auth_request /a$arg_b; }").warnings
    assert warning.startswith('"auth_request" takes its variables as text')
    off = location("auth_basic off; auth_request off;", "auth_basic realm; auth_request /a;").guard
    assert (off.auth_basic, off.auth_request) == (None, "")

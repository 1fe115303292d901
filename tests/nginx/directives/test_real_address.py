"""Directives for the client's real address."""

from __future__ import annotations

from ipaddress import ip_network

from tests.support.directive import location


def test_real_addresses() -> None:
    guard = location("set_real_ip_from 10.0.0.0/8; set_real_ip_from unix:; real_ip_header X-A; real_ip_recursive on;").guard
    assert (guard.real_ip_from, guard.real_ip_header, guard.real_ip_recursive) == (
        (ip_network("10.0.0.0/8"), "unix:"),
        "X-A",
        True,
    )
    assert ip_network("127.0.0.1") in location("set_real_ip_from localhost;").guard.real_ip_from

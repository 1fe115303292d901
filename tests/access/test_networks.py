"""Sets of networks: addresses as numbers, IPv4-mapped ones, unix sockets."""

from __future__ import annotations

from ipaddress import ip_network

from wsgi_proxy.access.networks import Networks, number


def test_networks() -> None:
    networks = Networks([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("192.0.2.7")])
    inside = ["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1", "2001:db8:ffff::", "192.0.2.7"]
    outside = ["11.0.0.0", "9.255.255.255", "2001:db9::", "192.0.2.8", "", "::10.1.1.1", "10.0.0", "x"]
    assert [address for address in inside + outside if number(address) in networks] == inside

"""allow, deny and the client's real address, as pure decisions."""

from __future__ import annotations

import logging
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.limits import exchange
from wsgi_proxy.access.addresses import AddressCheck, Networks, RealAddress, address_and_port, number
from wsgi_proxy.config import Access, GuardSettings
from wsgi_proxy.errors import Refusal


def rules(*lines: str) -> list[Access]:
    made = []
    for line in lines:
        word, where = line.split()
        made.append(Access(word == "allow", where if where in ("all", "unix:") else ip_network(where)))
    return made


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.168.1.1", False),
        ("192.168.1.2", True),
        ("192.168.2.2", False),
        ("10.1.255.255", True),
        ("::ffff:10.1.0.1", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("not an address", False),
    ],
)
def test_the_example_of_nginx(address: str, expected: bool) -> None:
    check = AddressCheck(
        rules("deny 192.168.1.1", "allow 192.168.1.0/24", "allow 10.1.0.0/16", "allow 2001:db8::/32", "deny all")
    )
    x = exchange(remote_addr=address)
    if expected:
        assert check(x) is True
    else:
        with pytest.raises(Refusal) as refusal:
            check(x)
        assert refusal.value.status == 403


def test_no_rule_is_no_opinion() -> None:
    check = AddressCheck(rules("deny 10.0.0.0/8", "allow unix:"))
    assert check(exchange(remote_addr="11.0.0.1")) is False
    assert check(exchange(remote_addr="")) is True
    assert check(exchange(remote_addr="unix:")) is True


def test_refusal_is_logged_unless_something_else_may_satisfy(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "wsgi_proxy"):
        for quiet in (False, True):
            with pytest.raises(Refusal):
                AddressCheck(rules("deny all"), quiet)(exchange())
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["access forbidden by rule"]


def test_networks() -> None:
    networks = Networks([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("192.0.2.7")])
    inside = ["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1", "2001:db8:ffff::", "192.0.2.7"]
    outside = ["11.0.0.0", "9.255.255.255", "2001:db9::", "192.0.2.8", "", "::10.1.1.1", "10.0.0", "x"]
    assert [address for address in inside + outside if number(address) in networks] == inside


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", "")),
        ("192.0.2.1:8080", ("192.0.2.1", "8080")),
        ("2001:DB8::1", ("2001:db8::1", "")),
        ("[2001:db8::1]:443", ("2001:db8::1", "443")),
        ("[2001:db8::1]", ("2001:db8::1", "")),
        ("192.0.2.1:0", None),
        ("192.0.2.1:65536", None),
        ("192.0.2.1:٣", None),
        ("[2001:db8::1", None),
        ("[2001:db8::1]x", None),
        ("192.0.2.256", None),
        ("unknown", None),
        ("", None),
        ("1", None),
    ],
)
def test_address_and_port(word: str, expected: Any) -> None:
    assert address_and_port(word) == expected


def real(peer: str, value: str, *, recursive: bool = False, header: str = "X-Forwarded-For") -> tuple[str, str, bool]:
    settings = GuardSettings(
        real_ip_from=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), "unix:"),
        real_ip_header=header,
        real_ip_recursive=recursive,
    )
    x = exchange(headers={header: value} if value else {}, peer_addr=peer, remote_addr=peer, remote_port="1234")
    RealAddress(settings).apply(x)
    return x.remote_addr, x.remote_port, x.trusted_peer


def test_only_a_trusted_peer_is_believed() -> None:
    assert real("198.51.100.1", "192.0.2.9") == ("198.51.100.1", "1234", False)
    assert real("10.0.0.1", "192.0.2.9") == ("192.0.2.9", "", True)
    assert real("2001:db8::5", "192.0.2.9:77") == ("192.0.2.9", "77", True)
    assert real("", "192.0.2.9") == ("192.0.2.9", "", True)
    assert real("10.0.0.1", "") == ("10.0.0.1", "1234", True)
    assert real("10.0.0.1", "unknown") == ("10.0.0.1", "1234", True)
    assert real("10.0.0.1", "192.0.2.9", header="CF-Connecting-IP")[0] == "192.0.2.9"


def test_the_last_address_or_the_last_untrusted_one() -> None:
    chain = "6.6.6.6, 192.0.2.9, 10.0.0.7 ,10.0.0.8"
    assert real("10.0.0.1", chain)[0] == "10.0.0.8"
    assert real("10.0.0.1", chain, recursive=True)[0] == "192.0.2.9"
    assert real("10.0.0.1", "10.0.0.7,10.0.0.8", recursive=True)[0] == "10.0.0.7"
    assert real("10.0.0.1", "192.0.2.9, garbage, 10.0.0.8", recursive=True)[0] == "10.0.0.8"


def test_proxy_protocol() -> None:
    settings = GuardSettings(real_ip_from=(ip_network("10.0.0.0/8"),), real_ip_header="proxy_protocol")
    connection = SimpleNamespace(proxy_protocol=("192.0.2.9", 77, "10.0.0.2", 80))
    x = exchange(peer_addr="10.0.0.1", remote_addr="10.0.0.1", connection=connection)
    RealAddress(settings).apply(x)
    assert (x.remote_addr, x.remote_port) == ("192.0.2.9", "77")
    x = exchange(peer_addr="11.0.0.1", remote_addr="11.0.0.1", connection=connection)
    RealAddress(settings).apply(x)
    assert x.remote_addr == "11.0.0.1"

"""set_real_ip_from, real_ip_header and real_ip_recursive."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.limits import exchange
from wsgi_proxy.access.real_address import RealAddress, address_and_port
from wsgi_proxy.config import GuardSettings


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

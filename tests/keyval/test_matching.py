"""The types of a zone: equal text, networks, prefixes."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from wsgi_proxy.keyval.matching import Networks, Prefixes, accepts, matching


def test_the_smallest_network_matches() -> None:
    index = Networks()
    for key in (b"10.0.0.0/8", b"10.1.0.0/16", b"10.1.2.3", b"2001:db8::/32", b"0.0.0.0/0"):
        index.add(key)
    assert index.find(b"10.1.2.3") == b"10.1.2.3"
    assert index.find(b"10.1.2.4") == b"10.1.0.0/16"
    assert index.find(b"10.200.0.1") == b"10.0.0.0/8"
    assert index.find(b"192.0.2.1") == b"0.0.0.0/0"
    assert index.find(b"2001:db8::5") == b"2001:db8::/32"
    assert index.find(b"2001:db9::5") is None
    assert index.find(b"no address") is None
    index.discard(b"10.1.0.0/16")
    assert index.find(b"10.1.2.4") == b"10.0.0.0/8"
    index.discard(b"10.1.0.0/16")
    index.discard(b"text")


def test_two_texts_of_one_network() -> None:
    index = Networks()
    index.add(b"10.0.0.0/8")
    index.add(b"10.9.9.9/8")
    assert index.find(b"10.1.1.1") == b"10.9.9.9/8"
    index.discard(b"10.9.9.9/8")
    assert index.find(b"10.1.1.1") == b"10.0.0.0/8"


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32))), st.integers(0, 2**32 - 1))
def test_networks_agree_with_a_search(networks: list[tuple[int, int]], address: int) -> None:
    index = Networks()
    known = {ipaddress.ip_network((number, length), strict=False) for number, length in networks}
    for network in known:
        index.add(str(network).encode())
    holding = [network for network in known if ipaddress.ip_address(address) in network]
    wanted = max(holding, key=lambda network: network.prefixlen, default=None)
    assert index.find(str(ipaddress.ip_address(address)).encode()) == (None if wanted is None else str(wanted).encode())


@given(st.lists(st.binary(min_size=1, max_size=4)), st.lists(st.binary(min_size=1, max_size=4)), st.binary(max_size=5))
def test_prefixes_agree_with_a_search(added: list[bytes], removed: list[bytes], key: bytes) -> None:
    index = Prefixes()
    for each in added:
        index.add(each)
    for each in removed:
        index.discard(each)
    left = [each for each in added if each not in removed and key.startswith(each)]
    assert index.find(key) == max(left, key=len, default=None)


def test_keys_that_a_type_accepts() -> None:
    assert accepts("string", b"x") and not accepts("string", b"")
    assert accepts("ip", b"::1") and accepts("ip", b"10.0.0.0/8") and not accepts("ip", b"10.0.0.0/33")
    assert not accepts("ip", b"\xff")
    assert matching("string") is None

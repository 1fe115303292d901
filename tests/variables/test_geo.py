"""`geo`: values of addresses, faults and edge cases. `tests/differential/test_routing.py` compares it with nginx."""

from __future__ import annotations

import ipaddress
import random

import pytest

from tests.support.routing import environ
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables.geo import Geo, Intervals, build_geo, number_of
from wsgi_proxy.variables.names import Names

Rows = list[tuple[str, list[str]]]


def geo(rows: Rows) -> Geo:
    return build_geo(None, rows, Names())


def value(found: Geo, address: str, forwarded: str = "") -> str:
    fields = [("X-Forwarded-For", forwarded)] if forwarded else []
    x = Exchange.from_environ(environ("GET", "/", fields, 80))
    x.remote_addr = address
    return found(x)


def test_the_longest_prefix_wins_whatever_the_order() -> None:
    rows: Rows = [("10.1.0.0/16", ["inner"]), ("10.0.0.0/8", ["outer"]), ("10.1.2.3", ["one"]), ("2001:db8::/32", ["six"])]
    found = geo([*rows, ("default", ["d"])])
    addresses = ["10.1.2.3", "10.1.2.4", "10.2.0.0", "11.0.0.0", "9.255.255.255", "2001:db8::1", "2001:db9::", "::ffff:10.1.2.3"]
    assert [value(found, text) for text in addresses] == ["one", "inner", "outer", "d", "d", "six", "d", "one"]


def test_against_ipaddress() -> None:
    dice = random.Random(3)
    networks = {}
    for _ in range(300):
        number, length = dice.getrandbits(32), dice.randint(1, 32)
        networks[ipaddress.IPv4Network((number, length), strict=False)] = f"v{len(networks)}"
    found = geo([(str(network), [name]) for network, name in networks.items()])
    for _ in range(1000):
        network = dice.choice(list(networks))
        address = ipaddress.IPv4Address(int(network.network_address) + dice.randint(-1, network.num_addresses) & 0xFFFFFFFF)
        inside = [one for one in networks if address in one]
        wanted = networks[max(inside, key=lambda one: one.prefixlen)] if inside else ""
        assert value(found, str(address)) == wanted


def test_a_later_line_replaces_and_delete_takes_out() -> None:
    found = geo([("10.0.0.0/8", ["a"]), ("10.0.0.0/8", ["b"]), ("11.0.0.0/8", ["c"]), ("delete", ["11.0.0.0/8"])])
    assert (value(found, "10.0.0.1"), value(found, "11.0.0.1")) == ("b", "")
    assert geo([("delete", ["11.0.0.0/8"])]).warnings == ['no network "11.0.0.0/8" to delete']


def test_ranges() -> None:
    rows: Rows = [("ranges", []), ("10.0.0.0-10.0.0.9", ["a"]), ("10.0.0.3-10.0.0.5", ["b"]), ("10.0.0.4-10.0.0.4", ["c"])]
    found = geo([*rows, ("default", ["d"])])
    assert [value(found, f"10.0.0.{last}") for last in (0, 2, 3, 4, 5, 6, 9, 10)] == ["a", "a", "b", "c", "b", "a", "a", "d"]
    found = geo([*rows, ("delete", ["10.0.0.4-10.0.0.4"])])
    assert value(found, "10.0.0.4") == ""
    assert geo([*rows, ("delete", ["1.0.0.0-1.0.0.1"])]).warnings


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("10.0.0.0/33", ["a"])], 'invalid network "10.0.0.0/33"'),
        ([("10.0.0/8", ["a"])], 'invalid network "10.0.0/8"'),
        ([("10.0.0.0/", ["a"])], 'invalid network "10.0.0.0/"'),
        ([("junk", ["a"])], 'invalid network "junk"'),
        ([("1.1.1.1", [])], "invalid number of the geo parameters"),
        ([("1.1.1.1", ["a"]), ("ranges", [])], '"ranges" directive must be the first'),
        ([("ranges", []), ("1.1.1.1", ["a"])], 'invalid range "1.1.1.1"'),
        ([("ranges", []), ("1.1.1.2-1.1.1.1", ["a"])], 'invalid range "1.1.1.2-1.1.1.1"'),
        ([("ranges", []), ("::1-::2", ["a"])], 'invalid range "::1-::2"'),
        (
            [("ranges", []), ("1.1.1.1-1.1.1.5", ["a"]), ("1.1.1.4-1.1.1.9", ["b"])],
            'range "1.1.1.4-1.1.1.9" overlaps "1.1.1.1-1.1.1.5"',
        ),
        (
            [("ranges", []), ("1.1.1.4-1.1.1.9", ["a"]), ("1.1.1.1-1.1.1.5", ["b"])],
            'range "1.1.1.1-1.1.1.5" overlaps "1.1.1.4-1.1.1.9"',
        ),
    ],
)
def test_faults(rows: Rows, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        geo(rows)
    assert message in str(caught.value)


def test_behind_proxies() -> None:
    rows: Rows = [("10.0.0.0/8", ["in"]), ("1.0.0.0/8", ["out"]), ("default", ["d"])]
    rows += [("proxy", ["127.0.0.1"]), ("proxy", ["10.0.0.1"])]
    plain, recursive = geo(rows), geo([*rows, ("proxy_recursive", [])])
    assert value(plain, "127.0.0.1", "1.1.1.1, 10.0.0.1") == "in"
    assert value(recursive, "127.0.0.1", "1.1.1.1, 10.0.0.1") == "out"
    assert value(recursive, "8.8.8.8", "1.1.1.1") == "d"
    assert value(recursive, "127.0.0.1", "junk, 1.1.1.1, 10.0.0.1") == "out"
    assert value(recursive, "127.0.0.1") == "d"


def test_what_is_no_address() -> None:
    assert number_of("junk") == number_of("") == (0xFFFFFFFF, False)
    assert number_of("::1") == (1, True)


def test_intervals_of_equal_rank_and_none() -> None:
    assert Intervals([]).find(5) is None
    found = Intervals([(1, 3, 0, "a"), (5, 9, 0, "b"), (6, 7, 1, "c")])
    assert [found.find(number) for number in (0, 1, 3, 4, 5, 6, 7, 8, 9, 10)] == [
        None, "a", "a", None, "b", "c", "c", "b", "b", None]  # fmt: skip

"""`map` and `split_clients`: faults and captures. `tests/differential/test_routing.py` compares them with nginx."""

from __future__ import annotations

import pytest

from tests.support.routing import environ
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.variables.maps import HostTable, Map, build_map, build_split_clients, murmur2, take_captures
from wsgi_proxy.variables.names import Names, compile_text
from wsgi_proxy.variables.patterns import compile_regex

Rows = list[tuple[str, list[str]]]


def exchange(key: str) -> Exchange:
    x = Exchange.from_environ(environ("GET", "/", [], 80))
    x.args = f"k={key}"
    return x


def table(rows: Rows, names: Names | None = None) -> Map:
    names = names or Names()
    found = build_map(compile_text("$arg_k", names), rows, names)
    names.check()
    return found


def test_keys_patterns_and_default() -> None:
    found = table([("a", ["1"]), ("~^b(.)", ["2-$1"]), ("~*^C", ["3"]), ("default", ["d"]), ("\\default", ["word"])])
    assert [found(exchange(key)) for key in ("a", "A", "bx", "cc", "default", "none", "")] == [
        "1", "1", "2-x", "3", "word", "d", "d"]  # fmt: skip


def test_without_a_default_it_is_empty() -> None:
    assert table([("a", ["1"])])(exchange("b")) == ""


def test_a_match_leaves_its_captures() -> None:
    x = exchange("abc")
    assert table([("~^(?<first>.)(.)", ["x"])])(x) == "x"
    assert (x.captures, x.variables) == (("ab", "a", "b"), {"first": "a"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", [])], "invalid number of the map parameters"),
        ([("a", ["1", "2"])], "invalid number of the map parameters"),
        ([("default", ["1"]), ("default", ["2"])], "duplicate default map parameter"),
        ([("a", ["1"]), ("A", ["2"])], 'conflicting parameter "A"'),
        ([("hostnames", []), ("a.*.b", ["1"])], 'invalid hostname or wildcard "a.*.b"'),
        ([("~(", ["1"])], "pcre2_compile"),
        ([("a", ["$"])], "invalid variable name"),
    ],
)
def test_faults(rows: Rows, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(rows)
    assert message in str(caught.value)


def test_volatile_and_cached() -> None:
    names = Names()
    source = compile_text("$arg_k", names)
    names.define("steady", build_map(source, [("default", ["$arg_k"])], names))
    names.define("moving", build_map(source, [("volatile", []), ("default", ["$arg_k"])], names))
    both = compile_text("$steady$moving", names)
    names.check()
    x = exchange("1")
    assert both(x) == "11"
    x.args = "k=2"
    assert both(x) == "12"


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("a.com", "exact"), ("b.a.com", "head"), ("c.b.a.com", "longer"), ("x.net", None), ("www.org", "tail"),
        ("www.mail.org", "longer tail"), ("dot.io", "dot"), ("x.dot.io", "dot"), (".a.com", "head"), ("www.", None), ("", None),
    ],
)  # fmt: skip
def test_the_most_exact_host_wins(host: str, wanted: str | None) -> None:
    hosts: HostTable[str] = HostTable()
    names = {"a.com": "exact", "*.a.com": "head", "*.b.a.com": "longer", ".dot.io": "dot"}
    names |= {"www.*": "tail", "www.mail.*": "longer tail"}
    for name, value in names.items():
        assert hosts.add(name, value)
    assert hosts.find(host) == wanted


def test_a_name_that_is_taken_changes_nothing() -> None:
    hosts: HostTable[str] = HostTable()
    assert hosts.add("a.com", "first")
    assert not hosts.add(".a.com", "second")
    assert (hosts.find("a.com"), hosts.find("b.a.com")) == ("first", None)


def test_a_large_table_is_no_slower_to_build_than_it_has_rows() -> None:
    found = table([(f"k{number}", [f"v{number}"]) for number in range(20000)])
    assert found(exchange("k19999")) == "v19999"


@pytest.mark.parametrize(
    ("data", "wanted"), [(b"", 0), (b"a", 2456313694), (b"abc", 0x13577C9B), (b"abcd", 646393889), (b"hello world", 0x44A81419)]
)
def test_the_hash(data: bytes, wanted: int) -> None:
    assert 0 <= murmur2(data) < 2**32
    assert murmur2(data) == wanted


def test_shares_are_kept() -> None:
    names = Names()
    found = build_split_clients(compile_text("$arg_k", names), [("10%", ["a"]), ("33.3%", ["b"]), ("*", ["c"])], names)
    names.check()
    values = [found(exchange(f"client{number}")) for number in range(3000)]
    assert abs(values.count("a") - 300) < 60
    assert abs(values.count("b") - 999) < 100


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("0%", ["a"])], 'invalid percent value "0%"'),
        ([("5", ["a"])], 'invalid percent value "5"'),
        ([("1.234%", ["a"])], 'invalid percent value "1.234%"'),
        ([("60%", ["a"]), ("50%", ["b"])], "percent total is greater than 100%"),
        ([("5%", [])], "invalid number of the split_clients parameters"),
    ],
)
def test_faults_of_shares(rows: Rows, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_split_clients(compile_text("k", Names()), rows, Names())
    assert message in str(caught.value)


def test_groups_that_took_no_part_are_empty() -> None:
    x = exchange("")
    match = compile_regex("(?<A>a)|(?<B>b)").search("b")
    assert match is not None
    take_captures(x, match)
    assert (x.variables, x.captures) == ({"a": "", "b": "b"}, ("b", None, "b"))

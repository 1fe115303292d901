"""Parsing of addresses, and resolution of names."""

from __future__ import annotations

import pytest

from wsgi_proxy.config import Server, SourceLine
from wsgi_proxy.errors import ConfigError
from wsgi_proxy.upstream.resolver import SYSTEM_VALID, Instance, Resolver, Target, first_instances, parse, target_of


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("server1:3000", Target("server1", 3000)),
        ("server1", Target("server1", 80)),
        ("10.0.0.1:8080", Target("10.0.0.1", 8080)),
        ("[2001:db8::1]:8080", Target("2001:db8::1", 8080)),
        ("[::1]", Target("::1", 80)),
        ("unix:/run/a:b.sock", Target("localhost", 0, "/run/a:b.sock")),
        ("http://b:3000", Target("b", 3000, "", "http")),
        ("https://b/", Target("b", 443, "", "https")),
        ("http://unix:/run/x", Target("localhost", 0, "/run/x", "http")),
        ("unix:///run/x", Target("localhost", 0, "///run/x")),
        ("unix:" + "x" * 107, Target("localhost", 0, "x" * 107)),
    ],
)
def test_addresses_are_taken_apart(text: str, target: Target) -> None:
    assert parse(text) == target


@pytest.mark.parametrize(
    "text",
    ["", ":80", "a:", "a:0", "a:65536", "a:b", "a:80:80",
     "[::1", "[::1]x", "[zz]:80", "unix:", "ftp://a", "http://a/b", "a/b:80", "a:٣",
     "unix:" + "x" * 108],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_every_address_once_and_ipv4_first() -> None:
    found, valid = Resolver().addresses(parse("localhost:3000"))
    assert found[0] == ("127.0.0.1", 3000)
    assert len(set(found)) == len(found)
    assert valid == SYSTEM_VALID
    assert Resolver(valid=1.5).addresses(parse("localhost:3000"))[1] == 1.5


def test_what_is_no_name_holds_for_ever() -> None:
    for text, address in (("[::1]:5", ("::1", 5)), ("1.2.3.4", ("1.2.3.4", 80)), ("unix:/run/x", "/run/x")):
        assert not parse(text).is_name
        assert Resolver(("127.0.0.1:1",)).addresses(parse(text)) == ([address], float("inf"))
    assert parse("a:1").is_name


def test_a_server_given_as_a_url() -> None:
    server = Server("https://localhost:3000")
    assert target_of(server) == Target("localhost", 3000, "", "https")
    found, life = first_instances(server, Resolver())
    assert found[0] == Instance(("127.0.0.1", 3000), 1, False) and life == SYSTEM_VALID


@pytest.mark.parametrize("address", ["no-such-host.invalid:80", "a" * 300 + ":80"])
def test_an_unknown_name_is_named_with_its_place(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        first_instances(Server(address, place=SourceLine("nginx.conf", 7)), Resolver())
    assert str(caught.value) == f'nginx.conf:7: host not found in upstream "{address}"'


def test_a_name_to_be_resolved_later_may_be_unknown_now() -> None:
    nowhere: list[Instance] = first_instances(Server("no-such-host.invalid:80", resolve=True), Resolver())[0]
    assert nowhere == []


def test_a_wrong_address_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match='nginx.conf:7: invalid port in "a:b"'):
        target_of(Server("a:b", place=SourceLine("nginx.conf", 7)))

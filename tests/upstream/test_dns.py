"""The DNS client with a test name server that speaks the wire format."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.name_server import AAAA, CNAME, A, NameServer, alias, ipv4, ipv6, service
from wsgi_proxy.upstream import dns
from wsgi_proxy.upstream.dns import LookupFailed, Service, look_up, look_up_service


@pytest.fixture
def server() -> Iterator[NameServer]:
    started = NameServer()
    yield started
    started.stop()


def test_both_families_ipv4_first_and_the_shortest_life(server: NameServer) -> None:
    server.records["b.test"] = [
        (AAAA, 50, socket.inet_pton(socket.AF_INET6, "2001:db8::1")),
        (A, 60, bytes([10, 0, 0, 1])),
        (A, 30, bytes([10, 0, 0, 2])),
    ]
    assert look_up("b.test", [server.address], 2) == (["10.0.0.1", "10.0.0.2", "2001:db8::1"], 30)


def test_aliases_are_passed_over(server: NameServer) -> None:
    server.records["www.test"] = [(CNAME, 5, b"\x01b\xc0\x10"), (A, 60, bytes([10, 0, 0, 1]))]
    assert look_up("www.test", [server.address], 2) == (["10.0.0.1"], 5)


def test_no_such_name_and_no_address(server: NameServer) -> None:
    server.records["empty.test"] = []
    for name in ("nosuch.test", "empty.test"):
        with pytest.raises(LookupFailed) as caught:
            look_up(name, [server.address], 2)
        assert not caught.value.exists


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_a_server_that_cannot_look_a_name_up_has_the_last_say(server: NameServer, code: int) -> None:
    with NameServer() as other:
        other.code = code
        server.records["b.test"] = [ipv4("10.0.0.1"), ipv6("2001:db8::1")]
        servers = [other.address, server.address]
        with pytest.raises(LookupFailed, match=f"code {code}") as caught:
            look_up("b.test", servers, 30)
        assert caught.value.exists is (code != 3)
        # Both kinds were asked for, and the next look-up begins with the next server.
        assert [kind for _, kind, _ in other.asked] == [A, AAAA] and not server.asked
        assert look_up("b.test", servers, 30)[0] == ["10.0.0.1", "2001:db8::1"]


def test_a_server_that_does_not_understand_is_passed_over(server: NameServer) -> None:
    with NameServer() as other:
        other.code = 1
        server.records["b.test"] = [ipv4("10.0.0.1")]
        assert look_up("b.test", [other.address, server.address], 30)[0] == ["10.0.0.1"]


def test_nobody_answers(server: NameServer) -> None:
    server.mangle = lambda response: []
    with pytest.raises(LookupFailed, match="could not be resolved"):
        look_up("b.test", [server.address], 0.2)


def test_an_answer_to_another_question_is_ignored(server: NameServer) -> None:
    server.records["b.test"] = [(A, 60, bytes([10, 0, 0, 1]))]

    def with_forgeries(response: bytes) -> list[bytes]:
        other_id = bytes([response[0] ^ 1]) + response[1:]
        other_name = response.replace(b"\x01b\x04test", b"\x01c\x04test")
        return [b"", other_id, other_name, response]

    server.mangle = with_forgeries
    assert look_up("b.test", [server.address], 2)[0] == ["10.0.0.1"]


def test_a_cut_answer_is_asked_for_again_over_tcp(server: NameServer) -> None:
    server.records["b.test"] = [(A, 60, bytes([10, 0, 0, number])) for number in range(1, 100)]
    server.mangle = lambda response: [response[:2] + bytes([response[2] | 2]) + response[3:]]
    assert len(look_up("b.test", [server.address], 2)[0]) == 99
    assert ("b.test", A, "tcp") in server.asked


def test_garbage_is_a_failure_and_not_an_exception_of_another_kind(server: NameServer) -> None:
    server.records["b.test"] = [(A, 60, bytes([10, 0, 0, 1]))]
    for cut in (30, 35):
        server.mangle = lambda response, cut=cut: [response[:cut]]  # type: ignore[misc]
        with pytest.raises(LookupFailed):
            look_up("b.test", [server.address], 0.5)


def test_an_alias_without_its_address_is_asked_for(server: NameServer) -> None:
    server.records["www.test"] = [alias("edge.test", 50)]
    server.records["edge.test"] = [alias("b.edge.test", 7)]
    server.records["b.edge.test"] = [ipv4("10.0.0.1", 40), ipv6("2001:db8::1", 30)]
    assert look_up("www.test", [server.address], 30) == (["10.0.0.1", "2001:db8::1"], 7)
    assert [name for name, kind, _ in server.asked if kind == A] == ["www.test", "edge.test", "b.edge.test"]


def test_aliases_in_a_circle_end(server: NameServer) -> None:
    server.records["a.test"] = [alias("b.test")]
    server.records["b.test"] = [alias("a.test")]
    with pytest.raises(LookupFailed, match="too many aliases"):
        look_up("a.test", [server.address], 30, [A])
    assert len(server.asked) == 50


def test_a_compressed_alias(server: NameServer) -> None:
    server.records["www.test"] = [(CNAME, 5, b"\x01b\xc0\x10")]
    server.records["b.test"] = [ipv4("10.0.0.1")]
    assert look_up("www.test", [server.address], 30, [A]) == (["10.0.0.1"], 5)
    # A pointer to itself ends.
    server.records["www.test"] = [(CNAME, 5, b"\xc0\x26")]
    with pytest.raises(LookupFailed):
        look_up("www.test", [server.address], 30, [A])


def test_the_families_that_are_wanted(server: NameServer) -> None:
    server.records["b.test"] = [ipv4("10.0.0.1"), ipv6("2001:db8::1")]
    assert look_up("b.test", [server.address], 30, [AAAA])[0] == ["2001:db8::1"]
    assert look_up("b.test", [server.address], 30, [A])[0] == ["10.0.0.1"]
    assert [kind for _, kind, _ in server.asked] == [AAAA, A]


@pytest.mark.parametrize("failing", [A, AAAA])
def test_a_family_in_trouble_fails_the_look_up(server: NameServer, failing: int) -> None:
    server.records["b.test"] = [ipv4("10.0.0.1"), ipv6("2001:db8::1")]
    server.codes["b.test", failing] = 2
    with pytest.raises(LookupFailed, match="code 2"):
        look_up("b.test", [server.address], 30)


def test_an_alias_of_one_family_gives_way_to_addresses_of_the_other(server: NameServer) -> None:
    server.records["b.test"] = [ipv4("10.0.0.1"), alias("other.test")]
    server.records["other.test"] = [ipv4("10.0.0.2"), ipv6("2001:db8::2")]
    assert look_up("b.test", [server.address], 30)[0] == ["10.0.0.1"]
    # The alias in the last response is followed for both.
    server.records["b.test"] = [alias("other.test")]
    assert look_up("b.test", [server.address], 30)[0] == ["10.0.0.2", "2001:db8::2"]


def test_a_lost_datagram_is_sent_again(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "RESEND", 0.05)
    server.records["b.test"] = [ipv4("10.0.0.1")]
    lost = iter([True, True])
    server.mangle = lambda response: [] if next(lost, False) else [response]
    assert look_up("b.test", [server.address], 60, [A])[0] == ["10.0.0.1"]
    assert len(server.asked) >= 3


def test_services(server: NameServer) -> None:
    server.records["_http._tcp.b.test"] = [service(10, 5, 8080, "one.b.test", 9), service(20, 0, 81, "two.b.test")]
    found, life = look_up_service("_http._tcp.b.test", [server.address], 30)
    assert found == [Service(10, 5, 8080, "one.b.test"), Service(20, 0, 81, "two.b.test")]
    assert life == 9
    with pytest.raises(LookupFailed):
        look_up_service("_ftp._tcp.b.test", [server.address], 30)

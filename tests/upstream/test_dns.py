"""The DNS client before a name server of our own that speaks the wire format."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support import free_port
from wsgi_proxy.upstream.dns import LookupFailed, look_up

Records = list[tuple[int, int, bytes]]


class NameServer:
    """Answers over UDP and TCP from `records`: name → [(type, ttl, data)]; `mangle` may change an answer over UDP."""

    def __init__(self) -> None:
        self.records: dict[str, Records] = {}
        self.mangle: Callable[[bytes], list[bytes]] = lambda response: [response]
        self.asked: list[tuple[str, int, str]] = []
        self.code = 0
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # A port that TCP has free too.
        self.udp.bind(("127.0.0.1", free_port()))
        self.address = f"127.0.0.1:{self.udp.getsockname()[1]}"
        self.tcp = socket.create_server(self.udp.getsockname())
        self.threads = [threading.Thread(target=self.serve_udp), threading.Thread(target=self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def serve_udp(self) -> None:
        while True:
            query, client = self.udp.recvfrom(4096)
            if not query:
                return
            for response in self.mangle(self.response(query, "udp")):
                self.udp.sendto(response, client)

    def serve_tcp(self) -> None:
        while True:
            connection, _ = self.tcp.accept()
            with connection:
                head = connection.recv(2)
                if not head:
                    return
                query = connection.recv(struct.unpack(">H", head)[0])
                response = self.response(query, "tcp")
                connection.sendall(struct.pack(">H", len(response)) + response)

    def response(self, query: bytes, over: str) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, (kind,) = ".".join(labels), struct.unpack(">H", query[at + 1 : at + 3])
        self.asked.append((name, kind, over))
        known = self.records.get(name)
        records = [record for record in known or [] if record[0] in (kind, 5)]
        code = self.code or (0 if known is not None else 3)
        response = query[:2] + struct.pack(">5H", 0x8180 | code, 1, len(records), 0, 0) + query[12:]
        for record, ttl, data in records:
            response += b"\xc0\x0c" + struct.pack(">HHIH", record, 1, ttl, len(data)) + data
        return response

    def stop(self) -> None:
        # An empty datagram and an empty connection end the threads.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self.udp.getsockname())
        socket.create_connection(self.tcp.getsockname()).close()
        for thread in self.threads:
            thread.join(30)
        self.udp.close()
        self.tcp.close()


@pytest.fixture
def server() -> Iterator[NameServer]:
    started = NameServer()
    yield started
    started.stop()


A, AAAA, CNAME = 1, 28, 5


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


def test_a_server_in_trouble_is_passed_over(server: NameServer) -> None:
    other = NameServer()
    try:
        other.code = 2
        server.records["b.test"] = [(A, 60, bytes([10, 0, 0, 1]))]
        assert look_up("b.test", [other.address, server.address], 2)[0] == ["10.0.0.1"]
        with pytest.raises(LookupFailed, match="code 2") as caught:
            look_up("b.test", [other.address], 2)
        assert caught.value.exists
    finally:
        other.stop()


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

"""A name server of the tests that speaks the wire format over UDP and TCP (RFC 1035, section 4)."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from .ports import free_port

A, AAAA, CNAME, SRV = 1, 28, 5, 33
Records = list[tuple[int, int, bytes]]


class NameServer:
    """Answers over UDP and TCP from `records`: name → [(type, ttl, data)]; `mangle` may change a response over UDP.

    `code` is the response code of all answers, `codes` that of a (name, kind); 0 for none.
    """

    def __init__(self) -> None:
        self.records: dict[str, Records] = {}
        self.mangle: Callable[[bytes], list[bytes]] = lambda response: [response]
        self.asked: list[tuple[str, int, str]] = []
        self.code = 0
        self.codes: dict[tuple[str, int], int] = {}
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # A port that TCP has free too.
        self.udp.bind(("127.0.0.1", free_port()))
        self.address = f"127.0.0.1:{self.udp.getsockname()[1]}"
        self.tcp = socket.create_server(self.udp.getsockname())
        self.threads = [threading.Thread(target=self.serve_udp), threading.Thread(target=self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def __enter__(self) -> NameServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

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
        name, (kind,) = ".".join(labels).lower(), struct.unpack(">H", query[at + 1 : at + 3])
        self.asked.append((name, kind, over))
        known = self.records.get(name)
        records = [record for record in known or [] if record[0] in (kind, 5)]
        code = self.code or self.codes.get((name, kind), 0) or (0 if known is not None else 3)
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


def ipv4(text: str, life: int = 60) -> tuple[int, int, bytes]:
    """An A record."""
    return A, life, socket.inet_aton(text)


def ipv6(text: str, life: int = 60) -> tuple[int, int, bytes]:
    """An AAAA record."""
    return AAAA, life, socket.inet_pton(socket.AF_INET6, text)


def name(text: str) -> bytes:
    """A name on the wire, without compression."""
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def alias(text: str, life: int = 60) -> tuple[int, int, bytes]:
    """A CNAME record."""
    return CNAME, life, name(text)


def service(priority: int, weight: int, port: int, host: str, life: int = 60) -> tuple[int, int, bytes]:
    """An SRV record (RFC 2782)."""
    return SRV, life, struct.pack(">3H", priority, weight, port) + name(host)

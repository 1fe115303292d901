"""proxy_protocol: exactly the bytes of the header are read."""

from __future__ import annotations

import socket
import struct

import pytest

from wsgi_proxy.errors import ClientError
from wsgi_proxy.net.plain_stream import PlainStream
from wsgi_proxy.net.proxy_protocol import Endpoints, read_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack("!HH", 1000, 80)
V6 = bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack("!HH", 1000, 80)


def version_2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(rest)) + rest


def read(data: bytes) -> tuple[Endpoints | None, bytes]:
    ours, theirs = socket.socketpair()
    stream = PlainStream(ours)
    try:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return read_proxy_header(stream), stream.recv(1000)
    finally:
        stream.close()
        theirs.close()


@pytest.mark.parametrize(
    ("header", "endpoints"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n", ("192.0.2.1", 1000, "192.0.2.2", 80)),
        (b"PROXY TCP6 2001:db8::1 ::2 1000 80\r\n", ("2001:db8::1", 1000, "::2", 80)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (version_2(1, 0x11, V4), ("192.0.2.1", 1000, "192.0.2.2", 80)),
        (version_2(1, 0x11, V4 + b"\x04\0\1x"), ("192.0.2.1", 1000, "192.0.2.2", 80)),
        (version_2(1, 0x21, V6), ("::1", 1000, "::2", 80)),
        (version_2(0, 0x11, V4), None),
        (version_2(0, 0, b""), None),
        (version_2(1, 0x31, bytes(216)), None),
    ],
)
def test_headers(header: bytes, endpoints: Endpoints | None) -> None:
    assert read(header + b"GET / HTTP/1.1") == (endpoints, b"GET / HTTP/1.1")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1000\r\n",
        b"PROXY TCP4 ::1 192.0.2.2 1000 80\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 80\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 80\r\n",
        b"PROXY " + b"x" * 200 + b"\r\n",
        b"PROXY TCP4",
        b"",
        version_2(1, 0x11, V4[:8]),
        version_2(2, 0x11, V4),
        version_2(1, 0x11, V4)[:20],
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 60000),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ClientError):
        read(data)

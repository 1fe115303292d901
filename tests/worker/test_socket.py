"""socket: `gunicorn.socket` for applications that serve their connection themselves."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.ports import wait_until
from tests.support.service import serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("way", ["raises StopIteration", "returns nothing"])
def test_an_application_takes_the_socket(way: str) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        sock = environ["gunicorn.socket"]
        assert sock.getpeername()[0] == "127.0.0.1" and sock.getsockname()[0] == "127.0.0.1"
        sock.settimeout(30)
        assert sock.gettimeout() == 30 and sock.fileno() > 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert sock.recv(3) == b"ear"
        buffer = bytearray(10)
        assert sock.recv_into(buffer) == 2 and buffer[:2] == b"ly"
        sock.sendall(b"raw ")
        assert sock.send(b"bytes") == 5
        while data := sock.recv(100):
            sock.sendall(data)
        if way == "returns nothing":
            return []
        raise StopIteration

    with serving(app) as server, Client(server.port) as client:
        client.send(GET + b"early")
        assert client.read_exactly(9) == b"raw bytes"
        client.send(b"echo")
        assert client.read_exactly(4) == b"echo"
        client.half_close()
        assert client.read_all() == b""
        wait_until(lambda: not server.service.connections, "the end")
        assert server.lines == []


def test_it_costs_nothing_until_it_is_used() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert environ["gunicorn.socket"] is not None and not environ["wsgi_proxy.connection"].taken
        start_response("200 OK", [])
        return [b"x"]

    with serving(app) as server, Client(server.port) as client:
        assert [client.exchange(GET).body, client.exchange(GET).body] == [b"x", b"x"]

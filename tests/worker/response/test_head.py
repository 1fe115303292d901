"""head: the framing and the connection that each head announces; test_writer has the bodies."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.support.service import serving


def head_of(status: str, headers: list[tuple[str, str]], request: bytes, body: list[bytes] | None) -> list[str]:
    """Return the lines of the head, without Server and Date; a `body` of None is an iterable of unknown length."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, headers)
        return iter([b"abc"]) if body is None else body

    with serving(app) as server, socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(request + b"\r\nHost: a:1\r\n\r\n")
        received = b""
        while b"\r\n\r\n" not in received:
            block = sock.recv(65536)
            assert block, received
            received += block
    lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return [line for line in lines if not line.startswith(("Server:", "Date:"))]


GET, HEAD, OLD, CONNECT = b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0", b"CONNECT a:1 HTTP/1.1"
KEEP, CLOSE = "Connection: keep-alive", "Connection: close"
THREE = [("Content-Length", "3")]


@pytest.mark.parametrize(
    ("status", "headers", "request_line", "body", "framing"),
    [
        ("200 OK", THREE, GET, None, ["Content-Length: 3", KEEP]),
        ("200 OK", [], GET, [b"hello"], ["Content-Length: 5", KEEP]),
        ("200 OK", [], GET, None, ["Transfer-Encoding: chunked", KEEP]),
        ("200 OK", [], OLD, None, [CLOSE]),
        ("200 OK", [], HEAD, None, [KEEP]),
        ("204 No Content", THREE, GET, [], [KEEP]),
        ("304 Not Modified", THREE, GET, [], ["Content-Length: 3", KEEP]),
        ("101 Switching Protocols", [("Connection", "upgrade")], GET, [], ["Connection: upgrade"]),
        ("403 Forbidden", [("Content-Length", "0")], CONNECT, [], ["Content-Length: 0", CLOSE]),
        ("200 OK", [("Connection", "close, X-A")], GET, [b"a"], ["Connection: X-A", "Content-Length: 1", CLOSE]),
    ],
)
def test_framing(
    status: str, headers: list[tuple[str, str]], request_line: bytes, body: list[bytes] | None, framing: list[str]
) -> None:
    assert head_of(status, headers, request_line, body) == [f"HTTP/1.1 {status}", *framing]


def test_date_and_server_are_the_applications_where_it_sets_them() -> None:
    own = [("date", "yesterday"), ("SERVER", "mine"), *THREE]
    assert head_of("200 OK", own, GET, None) == ["HTTP/1.1 200 OK", "date: yesterday", "SERVER: mine", "Content-Length: 3", KEEP]

"""The variables of the response."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.routing import environ
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.response import Response
from wsgi_proxy.variables.names import Names, compile_text
from wsgi_proxy.variables.response import field, sent_field


def exchange() -> Exchange:
    return Exchange.from_environ(environ("GET", "/", [], 8080))


def value(name: str, x: Exchange) -> str:
    return compile_text(f"${name}", Names())(x)


def test_what_was_sent() -> None:
    x = exchange()
    assert value("sent_http_x", x) == ""
    x.response = Response(200, [("X-A", "1"), ("x-a", "2")], length=5)
    assert (value("sent_http_x_a", x), value("sent_http_content_length", x)) == ("1, 2", "5")
    assert (value("status", x), value("request_completion", x)) == ("000", "")
    x.status, x.completed = 200, True
    assert (value("status", x), value("request_completion", x)) == ("200", "OK")


def test_the_length_of_an_answer() -> None:
    x = exchange()
    assert value("bytes_sent", x) == "0"
    x.response, x.body_bytes_sent = Response(200, [("X", "y"), ("Date", "d"), ("Server", "s"), ("Connection", "close")]), 5
    wire = "HTTP/1.1 200 OK\r\nX: y\r\nDate: d\r\nServer: s\r\nConnection: close\r\n\r\n12345"
    assert value("bytes_sent", x) == str(len(wire))
    x.response.headers.clear()
    own = "Server: wsgi_proxy\r\nDate: Sun, 13 Sep 2020 12:26:40 GMT\r\nConnection: keep-alive\r\n"
    assert value("bytes_sent", x) == str(len(f"HTTP/1.1 200 OK\r\n{own}\r\n12345"))


def test_the_worker_knows_what_it_sent() -> None:
    x = exchange()
    x.connection, x.body_bytes_sent = SimpleNamespace(bytes_out=120, head_out=100, taken=False), 5
    assert (value("bytes_sent", x), value("body_bytes_sent", x)) == ("120", "20")
    x.connection.taken = True  # the bytes of a tunnel are on the exchange
    assert (value("bytes_sent", x), value("body_bytes_sent", x)) == ("125", "25")


def answered(response: Response, keep: bool = True, may: bool = True, header: float | None = 60.0) -> Exchange:
    x = Exchange()
    x.response, x.protocol = response, "HTTP/1.1"
    settings: Any = SimpleNamespace(keepalive_header=header, chunks=True)
    x.connection = SimpleNamespace(head=SimpleNamespace(keep_alive=keep), may_keep=lambda: may, settings=settings)
    return x


def test_repeated_fields_are_joined() -> None:
    assert field([("A-B", "1"), ("a_b", "2"), ("C", "3")], "a-b") == "1, 2"
    assert field([], "a") is None


@pytest.mark.parametrize(
    ("x", "connection", "keep_alive"),
    [
        (answered(Response(200)), "keep-alive", "timeout=60"),
        (answered(Response(200), header=None), "keep-alive", None),
        (answered(Response(200), keep=False), "close", None),
        (answered(Response(200), may=False), "close", None),
        (answered(Response(200, [("Connection", "close")])), "close", None),
        (answered(Response(101)), "upgrade", None),
        (Exchange(), None, None),
    ],
)
def test_the_connection(x: Exchange, connection: str | None, keep_alive: str | None) -> None:
    assert (sent_field(x, "connection"), sent_field(x, "keep-alive")) == (connection, keep_alive)


def test_the_framing_is_known_at_the_end() -> None:
    x = answered(Response(200))
    assert sent_field(x, "transfer-encoding") is None
    x.finished_at = 1.0
    assert (sent_field(x, "transfer-encoding"), sent_field(x, "connection")) == ("chunked", "close")
    x.response = Response(200, length=5)
    assert (sent_field(x, "transfer-encoding"), sent_field(x, "content-length")) == (None, "5")

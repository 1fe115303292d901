"""Tunnels as the bodies of responses, in threads and on gevent's loop; real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.recorder import Recorder
from tests.support.wire import read_all, run_on_the_loop, tcp_pair
from wsgi_proxy.config import ProxySettings
from wsgi_proxy.errors import ConnectFailed, ProxyError
from wsgi_proxy.exchange import Exchange
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.response import Response
from wsgi_proxy.transport.route import Route
from wsgi_proxy.tunnel.tunnel import Dialled, Tunnelled, can_tunnel, require_connection


class Upper:
    def __init__(self, stream: Stream, rest: bytes) -> None:
        self.reply = self
        self._taken = (stream, rest)
        self.closed = False

    def take_over(self) -> tuple[Stream, bytes]:
        return self._taken

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def environ() -> Iterator[dict[str, Any]]:
    yield {"REQUEST_METHOD": "GET", "RAW_URI": "/", "wsgi.input": Input(), "REMOTE_ADDR": "127.0.0.1"}


class Input:
    """gunicorn's body object, reduced to the bytes that its parser has read ahead."""

    def __init__(self) -> None:
        self.reader = self
        self.unreader = self

    def take_buffered(self) -> bytes:
        return b"ahead "


def test_a_101_under_a_server_that_hands_over_its_socket(environ: dict[str, Any]) -> None:
    client, inner_client = tcp_pair()
    upstream, inner_upstream = tcp_pair()
    environ["gunicorn.socket"] = inner_client
    x = Exchange.from_environ(environ)
    response = Response(101, [("X", "y")])
    upper = Upper(Stream.of(inner_upstream), b"hello")
    tunnelled = Tunnelled(upper, "echo", 5.0).run(x, response)
    assert response.headers == [("X", "y"), ("Connection", "upgrade"), ("Upgrade", "echo")]
    thread = threading.Thread(target=lambda: list(tunnelled), daemon=True)
    thread.start()
    client.sendall(b"behind")
    client.shutdown(socket.SHUT_WR)
    assert read_all(upstream) == b"ahead behind"
    upstream.close()
    head = b"HTTP/1.1 101 Switching Protocols\r\nX: y\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
    assert read_all(client) == head + b"hello"
    thread.join(30)
    with pytest.raises(BrokenPipeError):
        inner_client.send(b"an answer that must not go out")
    tunnelled.close()
    assert upper.closed and x.body_bytes_sent == 5
    inner_client.close()
    client.close()


def test_a_server_that_keeps_its_sockets_to_itself(environ: dict[str, Any]) -> None:
    assert not can_tunnel(environ)
    with pytest.raises(ProxyError) as caught:
        require_connection(Exchange.from_environ(environ))
    assert caught.value.status == 501
    require_connection(Exchange.from_environ({**environ, "gunicorn.socket": object()}))


def test_dialling() -> None:
    with Recorder() as upstream:
        dialled = Dialled(Route((upstream.host, upstream.port)))
        stream, rest = dialled.take_over()
        stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert rest == b"" and stream.recv(100).startswith(b"HTTP/1.1 200") and dialled.connect_time > 0
        dialled.close()
    with pytest.raises(ConnectFailed):
        Dialled(Route((upstream.host, upstream.port), settings=ProxySettings(connect_timeout=1.0)))


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)

"""Bodies moved by the kernel, to clients fast, slow and gone; real sockets.

The file runs a second time on gevent's loop, where streams work differently.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.recorder import Recorder, chunked, reply
from tests.support.wire import opened, raw, route, run_on_the_loop, send
from wsgi_proxy.errors import TruncatedResponse, UpstreamError
from wsgi_proxy.http.response import parse_response_head
from wsgi_proxy.net.plain_stream import PlainStream
from wsgi_proxy.net.stream import Stream
from wsgi_proxy.transport.route import Idle, KeepaliveGroup
from wsgi_proxy.transport.session import Transport
from wsgi_proxy.transport.splice import Body
from wsgi_proxy.transport.wire import Wire


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


class Sink:
    """A client's side: a stream to write to, and all that came out of the other end."""

    def __init__(self, pause: float = 0.0) -> None:
        ours, self._theirs = socket.socketpair()
        self.stream = Stream.of(ours)
        self.stream.write_timeout = 5.0
        self.digest = hashlib.sha256()
        self.size = 0
        self._pause = pause
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := self._theirs.recv(1 << 20):
            self.digest.update(data)
            self.size += len(data)
            if self._pause:
                time.sleep(self._pause)
        self._theirs.close()

    def close(self) -> None:
        self.stream.close()
        self._thread.join(30)


@pytest.mark.parametrize("size", [0, 10, 200_000, 30_000_000])
@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_a_body_moved_to_a_stream(transport: Transport, size: int, pause: float) -> None:
    data = os.urandom(size)
    with Recorder(lambda request, wire: reply(data)) as upstream:
        where = route(upstream)
        sink = Sink(pause)
        answer = send(transport, where)
        assert answer.send_to(sink.stream) == size
        sink.close()
        assert sink.size == size and sink.digest.digest() == hashlib.sha256(data).digest()
        assert answer.bytes_received == len(reply(data))
        again = send(transport, where)
        assert again.reused
        again.close()


@pytest.mark.parametrize("size", [300_000, 30_000_000])
def test_a_client_that_is_too_slow_gets_the_rest_later(transport: Transport, size: int) -> None:
    data = os.urandom(size)
    with Recorder(lambda request, wire: reply(data)) as upstream:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 50_000)
        client = Stream.of(ours)
        client.read_timeout = client.write_timeout = 5.0
        answer = send(transport, route(upstream))
        sent = answer.send_to(client, 0.05)
        assert 0 < sent < size
        rest = b"".join(answer.body)
        client.close()
        first = b""
        while block := theirs.recv(65536):
            first += block
        theirs.close()
        assert len(first) == sent and first + rest == data


def test_chunks_moved_to_a_stream(transport: Transport) -> None:
    data = os.urandom(1_000_000)
    body = chunked(data[:10], data[10:])
    with Recorder(lambda request, wire: reply(body, headers=[("Transfer-Encoding", "chunked")], length=None)) as upstream:
        sink = Sink()
        assert send(transport, route(upstream)).send_to(sink.stream) == len(data)
        sink.close()
        assert sink.digest.digest() == hashlib.sha256(data).digest()


def test_a_cut_while_it_is_moved(transport: Transport) -> None:
    with Recorder(raw(reply(b"x" * 1_000_000, length=2_000_000))) as upstream:
        sink = Sink()
        with pytest.raises(TruncatedResponse, match="prematurely closed"):
            send(transport, route(upstream)).send_to(sink.stream)
        sink.close()
        assert sink.size == 1_000_000


def test_a_client_that_leaves_while_it_is_moved(transport: Transport) -> None:
    with Recorder(lambda request, wire: reply(b"x" * 30_000_000)) as upstream:
        ours, theirs = socket.socketpair()
        client = Stream.of(ours)
        answer = send(transport, route(upstream))
        theirs.close()
        with pytest.raises(OSError) as caught:
            answer.send_to(client)
        assert not isinstance(caught.value, UpstreamError)
        answer.close()
        client.close()
        assert len(transport.adapter.idles) == 0


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)


def test_nothing_goes_around_the_tls_of_a_socket() -> None:
    """A socket that does its own TLS: the bytes of its descriptor are not those of the stream."""
    ours, theirs = socket.socketpair()
    with (
        theirs,
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(ours, server_hostname="a", do_handshake_on_connect=False) as secure,
    ):
        head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", "GET")
        assert Body(Wire(PlainStream(theirs), Idle(KeepaliveGroup()), 0.0), head, True).spliceable
        assert not Body(Wire(PlainStream(secure), Idle(KeepaliveGroup()), 0.0), head, True).spliceable

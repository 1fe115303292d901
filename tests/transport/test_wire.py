"""The wire before upstreams of every kind: which failures, and which connections live on; real sockets.

The file runs a second time on gevent's loop, where streams work differently.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.recorder import Recorded, Recorder
from tests.support.recorder import Wire as Peer
from tests.support.wire import GET, fetch, opened, raw, route, run_on_the_loop, send
from wsgi_proxy.config import ProxySettings
from wsgi_proxy.errors import ConnectFailed, InvalidResponse, UpstreamClosed, UpstreamError, UpstreamTimeout
from wsgi_proxy.transport.reply import Call
from wsgi_proxy.transport.route import Route
from wsgi_proxy.transport.session import Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


FAILURES: dict[str, tuple[Callable[[Recorded, Peer], Any], type[UpstreamError], str]] = {
    "closes": (lambda request, wire: wire.close(), UpstreamClosed, "upstream prematurely closed connection while reading"),
    "resets": (lambda request, wire: wire.reset(), UpstreamClosed, r"recv\(\) failed \(104: Connection reset by peer\)"),
    "ends in the head": (raw(b"HTTP/1.1 200 OK\r\nX: y\r\n"), UpstreamClosed, "prematurely closed"),
    "ends in the status": (raw(b"HTT"), UpstreamClosed, "prematurely closed"),
    "garbage": (raw(b"hello", close=False), InvalidResponse, "no HTTP/1 status line"),
    "TLS alert": (raw(b"\x15\x03\x01\x00\x02\x02\x46", close=False), InvalidResponse, "no HTTP/1 status line"),
    "bare CR": (raw(b"HTTP/1.1 200 OK\r\nX: y\rz\n\n", close=False), InvalidResponse, "bare CR"),
    "endless head": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000), InvalidResponse, "too big header"),
    "endless line": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000), InvalidResponse, "too big header"),
    "endless 1xx": (raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 x\n\n" * 500), InvalidResponse, "too many 1xx"),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), InvalidResponse, "twice"),
    "bad first chunk": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        InvalidResponse,
        "chunk size",
    ),
    "silent": (lambda request, wire: wire.recv(1) and None, UpstreamTimeout, r"upstream timed out \(110: Connection timed out\)"),
    "silent after 100": (
        lambda request, wire: wire.send(b"HTTP/1.1 100 Continue\r\n\r\n") or wire.recv(1) and None,
        UpstreamTimeout,
        "while reading response header",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_before_the_head(transport: Transport, name: str) -> None:
    script, kind, message = FAILURES[name]
    with Recorder(script) as upstream:
        with pytest.raises(kind, match=message) as caught:
            send(transport, route(upstream, read_timeout=0.1))
        assert caught.value.sent and caught.value.fresh
        assert len(transport.adapter.idles) == 0


def test_connecting_that_nobody_answers(transport: Transport) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex(address)
        try:
            with pytest.raises(UpstreamTimeout, match="while connecting") as caught:
                transport.send(Call("GET", GET), Route(address, settings=ProxySettings(connect_timeout=0.1)))
            assert not caught.value.sent and caught.value.status == 504
        finally:
            for sock in held:
                sock.close()


def test_unix_sockets(transport: Transport, tmp_path: Path) -> None:
    with Recorder(path=tmp_path / "s") as upstream:
        assert fetch(transport, route(upstream)) == b"ok"
    with pytest.raises(ConnectFailed, match="No such file"):
        transport.send(Call("GET", GET), Route(str(tmp_path / "none")))


def test_a_101_gives_the_stream_and_what_came_behind(transport: Transport) -> None:
    def script(request: Recorded, wire: Peer) -> None:
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst")
        wire.send(b"echo " + wire.recv())
        wire.close()

    with Recorder(script) as upstream:
        response = send(transport, route(upstream))
        stream, rest = response.take_over()
        assert response.status == 101 and rest == b"first" and response.head.upgrade == "echo"
        stream.sendall(b"hello")
        assert stream.recv(100) == b"echo hello"
        response.close()
        assert len(transport.adapter.idles) == 0


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)

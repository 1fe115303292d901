"""Bodies of every framing, and their ends; real sockets.

The file runs a second time on gevent's loop, where streams work differently.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import wait_until
from tests.support.recorder import Recorded, Recorder, chunked, reply
from tests.support.recorder import Wire as Peer
from tests.support.wire import fetch, opened, raw, route, run_on_the_loop, send
from wsgi_proxy.errors import TruncatedResponse
from wsgi_proxy.transport.session import Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    yield from opened()


BODIES: dict[str, tuple[bytes, bytes, bool]] = {
    "by length": (reply(b"hello"), b"hello", True),
    "empty": (reply(b""), b"", True),
    "chunked": (reply(chunked(b"he", b"llo"), headers=[("Transfer-Encoding", "chunked")], length=None), b"hello", True),
    "204": (reply(b"", 204, length=None), b"", True),
    "304 with a length": (reply(b"", 304, length=5), b"", True),
    "close announced": (reply(b"hello", headers=[("Connection", "close")]), b"hello", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "HTTP/1.0 keep-alive": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\nhello", b"hello", True),
    "bytes after the end": (reply(b"hello") + b"x", b"hello", False),
    "bytes after the last chunk": (
        reply(chunked(b"hello") + b"x", headers=[("Transfer-Encoding", "chunked")], length=None),
        b"hello",
        False,
    ),
    "a body after 204": (reply(b"hello", 204, length=None), b"", False),
    "103 before it": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"hello"), b"hello", True),
    "100 and 102 before it": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 x\r\n\r\n" + reply(b"hello"), b"hello", True),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("drip", [False, True])
def test_bodies(transport: Transport, name: str, drip: bool) -> None:
    data, body, reused = BODIES[name]

    def script(request: Recorded, wire: Peer) -> None:
        if request.number == 1 and request.connection == 1:
            if drip:
                wire.drip(data, pause=0.0005)
            else:
                wire.send(data)
        else:
            wire.send(reply(b"second"))

    with Recorder(script) as upstream:
        where = route(upstream)
        assert fetch(transport, where) == body
        assert fetch(transport, where) == b"second"
        assert upstream.connections == (1 if reused else 2)


def test_a_head_request_has_no_body_and_keeps_its_length(transport: Transport) -> None:
    with Recorder(lambda request, wire: reply(b"", length=1000)) as upstream:
        where = route(upstream)
        response = send(transport, where, "HEAD")
        assert response.content_length == 1000 and b"".join(response.body) == b""
        send(transport, where, "HEAD")
        assert upstream.connections == 1


def test_a_body_ended_by_the_connection(transport: Transport) -> None:
    with Recorder(raw(b"HTTP/1.1 200 OK\r\n\r\nhello")) as upstream:
        response = send(transport, route(upstream))
        assert response.content_length is None and b"".join(response.body) == b"hello"


def test_trailers(transport: Transport) -> None:
    body = chunked(b"hello", trailers=[("X-Sum", "5"), ("Content-Length", "9")])
    with Recorder(lambda request, wire: reply(body, headers=[("Transfer-Encoding", "chunked")], length=None)) as upstream:
        response = send(transport, route(upstream))
        assert b"".join(response.body) == b"hello" and response.trailers == [("X-Sum", "5")]


def test_blocks_come_as_they_are_sent(transport: Transport) -> None:
    step = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(reply(b"", headers=[("Transfer-Encoding", "chunked")], length=None) + b"5\r\nfirst\r\n")
        step.wait(30)
        wire.send(b"6\r\nsecond\r\n0\r\n\r\n")

    with Recorder(script) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"first"
        step.set()
        assert body.read_block() == b"second" and body.read_block() == b""


def test_framing_alone_is_no_block_at_hand(transport: Transport) -> None:
    framing, more = threading.Event(), threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(reply(b"", headers=[("Transfer-Encoding", "chunked")], length=None) + b"5\r\nfirst")
        framing.wait(30)
        wire.send(b"\r\n6")
        more.wait(30)
        wire.send(b"\r\nsecond\r\n0\r\n\r\n")

    with Recorder(script) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"first" and not body.next_at_hand()
        framing.set()
        wait_until(lambda: body.next_at_hand() or body.received >= 11, "the end of the chunk")
        assert not body.next_at_hand()
        more.set()
        wait_until(body.next_at_hand, "the next chunk")
        assert body.read_block() == b"second" and body.next_at_hand() and body.read_block() == b""
        assert len(transport.adapter.idles) == 1


def test_a_cut_is_found_by_a_look_for_the_next_block(transport: Transport) -> None:
    with Recorder(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"hello"
        with pytest.raises(TruncatedResponse, match="prematurely closed"):
            wait_until(body.next_at_hand, "the end")


def test_closing_an_unread_body_closes_the_connection(transport: Transport) -> None:
    release = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(reply(b"he", length=1000))
        release.wait(30)

    with Recorder(script) as upstream:
        response = send(transport, route(upstream))
        response.close()
        response.close()
        with pytest.raises(TruncatedResponse):
            response.body.read_block()
        assert len(transport.adapter.idles) == 0
        release.set()


TRUNCATED: dict[str, tuple[Callable[[Recorded, Peer], Any], str]] = {
    "length, closed": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), "prematurely closed"),
    "length, silent": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", close=False), "timed out"),
    "chunks, closed": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), "prematurely closed"),
    "chunks, no end": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"), "prematurely closed"),
    "chunks, silent": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", close=False), "timed out"),
    "close-delimited, silent": (raw(b"HTTP/1.1 200 OK\r\n\r\nhello", close=False), "timed out"),
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_body_that_does_not_come_to_its_end(transport: Transport, name: str) -> None:
    script, message = TRUNCATED[name]
    with Recorder(script) as upstream:
        body = send(transport, route(upstream, read_timeout=0.1)).body
        got = [body.read_block()]
        with pytest.raises(TruncatedResponse, match=message):
            while True:
                got.append(body.read_block())
        assert b"".join(got) == b"hello" and len(transport.adapter.idles) == 0


def test_a_reset_in_a_close_delimited_body_is_no_end(transport: Transport) -> None:
    seen = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        seen.wait(30)
        wire.reset()

    with Recorder(script) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"hello"
        seen.set()
        with pytest.raises(TruncatedResponse, match="reset"):
            body.read_block()


def test_a_bad_chunk_later_on(transport: Transport) -> None:
    step = threading.Event()

    def script(request: Recorded, wire: Peer) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        step.wait(30)
        wire.send(b"+5\r\nhello\r\n0\r\n\r\n")

    with Recorder(script) as upstream:
        body = send(transport, route(upstream)).body
        assert body.read_block() == b"hello"
        step.set()
        with pytest.raises(TruncatedResponse, match="chunk size"):
            body.read_block()


def test_all_of_it_on_the_loop() -> None:
    run_on_the_loop(__file__)
